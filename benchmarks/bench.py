"""What all rows of the quality table share, and the conversion whose packages are measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numerics import Matrices, Mixed, NumericsDecoder
from printing import say

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.convert import convert
from edgesw.errors import UsageError
from edgesw.outliers.calibrate import CALIBRATION_WINDOWS, input_mean_squares
from edgesw.package import Manifest
from edgesw.plans import Settings, make_plans
from edgesw.recipes import Coordinates
from edgesw.targets import TARGETS
from edgesw.texts import shipped_text, windows
from edgesw.tokenizer import Tokenizer

TOKENS = 512  # per window, BOS included


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    checkpoint: Checkpoint
    ids: np.ndarray  # (windows, tokens)
    importance: dict[str, np.ndarray]  # the calibration that `edgesw convert` does
    ends: dict[str, np.ndarray]  # embedding and head, in 8 bits and dequantised
    held_out: tuple[Coordinates, ...] = ()  # the super weights that a conversion found, ...
    columns: dict[str, list[int]] = field(default_factory=dict)  # ... and what it holds out whole, by matrix name

    def numerics(self, matrices: Matrices, names: frozenset[str], ends: bool = True) -> NumericsDecoder:
        """The float decoder with `names` taken from `matrices`, and embedding and head in 8 bits if `ends`."""
        spec = self.checkpoint.spec
        mixed = Mixed(self.checkpoint, names, matrices, self.ends if ends else {})
        return NumericsDecoder(spec, mixed, self.ids)

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers' matrices."""
        return frozenset(self.checkpoint.spec.matrices())


def make_bench(checkpoint: Checkpoint, tokenizer: Tokenizer, ids: np.ndarray) -> Bench:
    """Calibrate as `edgesw convert` does, and compress embedding and head."""
    spec = checkpoint.spec
    say("calibrating, for the rows without a package")
    calibration = windows(shipped_text("calibration"), tokenizer, CALIBRATION_WINDOWS, min(TOKENS, spec.max_positions))
    importance = input_mean_squares(spec, checkpoint, calibration)
    say("compressing embedding and head")
    ends = eight_bit_ends(checkpoint, make_plans(spec, Settings(("coreml",))).by_target["coreml"])
    return Bench(checkpoint, ids, importance, ends)


def eight_bit_ends(checkpoint: Checkpoint, plan: CompressionPlan) -> dict[str, np.ndarray]:
    """Embedding and head as every package of ours has them."""
    names = [matrix.name for matrix in plan.matrices if matrix.name not in set(checkpoint.spec.matrices())]
    ends = {name: CompressedDecoder(checkpoint, plan).tensor(name) for name in names}
    return {"lm_head": ends["embed_tokens"], **ends} if checkpoint.spec.tied_head else ends


def convert_for(bench: Bench, package: Path) -> tuple[Bench, Manifest, Settings, list[str]]:
    """Convert with the defaults, to the targets that can have this model; why the others cannot is said in the list.
    The bench then knows the super weights."""
    targets, refused = [], []
    for name, target in TARGETS.items():
        try:
            make_plans(bench.checkpoint.spec, Settings((name,)))
            targets.append(name)
        except UsageError as error:
            refused.append(f"No {target.title} package: {error}")
    settings = Settings(tuple(targets))
    manifest = convert(bench.checkpoint, settings, package, force=False, progress=_Stages())
    held_out = tuple((weight["layer"], weight["row"], weight["column"]) for weight in manifest.held_out)
    bench = replace(bench, held_out=held_out, columns=manifest.held_out_columns)
    return bench, manifest, settings, refused


class _Stages:
    """Says when the conversion begins a new stage."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            say(f"edgesw convert: {stage}")
            self._last = stage
