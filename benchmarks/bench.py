"""What all rows of the quality table share, and the conversion whose packages are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numerics import Matrices, Mixed, NumericsDecoder
from printing import say

from edgesw.calibration.calibrate import Calibration, calibrate
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.convert import convert
from edgesw.conversion.hold_out import HeldOut, find_held_out
from edgesw.conversion.plans import Settings, make_plans
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.package.package import Manifest
from edgesw.targets.targets import TARGETS
from edgesw.text.texts import shipped_text
from edgesw.text.tokenizer import Tokenizer

TOKENS = 512  # per window, BOS included


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    checkpoint: Checkpoint
    ids: np.ndarray  # (windows, tokens)
    calibration: Calibration  # as `edgesw convert` calibrates, with gradients
    held_out: HeldOut  # what it holds out
    ends: dict[str, np.ndarray]  # embedding and head, in 8 bits and dequantised

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
    """Detect and calibrate as `edgesw convert` does, and compress embedding and head."""
    stages = _Stages()
    held_out = find_held_out(checkpoint, tokenizer, stages)
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), stages, gradients=True)
    say("compressing embedding and head")
    ends = eight_bit_ends(checkpoint, make_plans(checkpoint.spec, Settings(("coreml",))).by_target["coreml"])
    return Bench(checkpoint, ids, calibration, held_out.with_columns(calibration.mean_squares), ends)


def eight_bit_ends(checkpoint: Checkpoint, plan: CompressionPlan) -> dict[str, np.ndarray]:
    """Embedding and head as every package of ours has them."""
    names = [matrix.name for matrix in plan.matrices if matrix.name not in set(checkpoint.spec.matrices())]
    ends = {name: CompressedDecoder(checkpoint, plan).tensor(name) for name in names}
    return {"lm_head": ends["embed_tokens"], **ends} if checkpoint.spec.tied_head else ends


def takers(spec: DecoderSpec) -> tuple[Settings, list[str]]:
    """The settings of a conversion with the defaults, to the targets that can have this model; why the others cannot is
    said in the list."""
    targets, refused = [], []
    for name, target in TARGETS.items():
        try:
            make_plans(spec, Settings((name,)))
            targets.append(name)
        except UsageError as error:
            refused.append(f"No {target.title} package: {error}")
    return Settings(tuple(targets)), refused


class Package:
    """A conversion that is done when its first row is measured."""

    def __init__(self, bench: Bench, settings: Settings, path: Path) -> None:
        self._bench, self._settings, self.path = bench, settings, path
        self.manifest: Manifest | None = None

    def made(self) -> Manifest:
        if self.manifest is None:
            checkpoint = self._bench.checkpoint
            self.manifest = convert(checkpoint, self._settings, self.path, force=False, progress=_Stages())
        return self.manifest


class _Stages:
    """Says when the conversion begins a new stage."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            say(f"edgesw: {stage}")
            self._last = stage
