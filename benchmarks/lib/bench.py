"""Bench: a model prepared as `edgesw convert` prepares it, and its packages, converted when they are measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.lib.numerics import Matrices, Mixed, SimulatedDecoder
from benchmarks.lib.printing import Stages, say
from edgesw.calibration.calibrate import Calibration, calibrate
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.convert import convert
from edgesw.conversion.hold_out import SuperWeights, find_super_weights
from edgesw.conversion.plans import make_plans
from edgesw.conversion.product_type import with_products
from edgesw.conversion.settings import Settings
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.package.manifest import Manifest
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.registry import TARGETS
from edgesw.text.texts import shipped_text
from edgesw.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Bench:
    """What all rows of a table share."""

    checkpoint: Checkpoint
    ids: np.ndarray  # (windows, tokens)
    calibration: Calibration  # with gradients, which mixed precision needs
    super_weights: SuperWeights
    hold_out: HoldOut
    ends: dict[str, np.ndarray]  # embedding and head, in 8 bits and dequantized

    def simulated(self, matrices: Matrices, names: frozenset[str], ends: bool = True) -> SimulatedDecoder:
        """The float decoder with `names` taken from `matrices`, and embedding and head in 8 bits if `ends`."""
        spec = self.checkpoint.spec
        mixed = Mixed(self.checkpoint, names, matrices, self.ends if ends else {})
        return SimulatedDecoder(FloatLogits(spec, mixed, self.ids))

    @property
    def layers(self) -> frozenset[str]:
        """Names of the layers' matrices."""
        return frozenset(self.checkpoint.spec.matrices())


def make_bench(checkpoint: Checkpoint, tokenizer: Tokenizer, ids: np.ndarray) -> Bench:
    """Detects and calibrates as `edgesw convert` does, and compresses embedding and head."""
    stages = Stages()
    super_weights = find_super_weights(checkpoint, tokenizer, stages)
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), stages, gradients=True)
    calibration = with_products(checkpoint, calibration)
    say("compressing embedding and head")
    ends = eight_bit_ends(checkpoint, make_plans(checkpoint.spec, Settings(("coreml",))).compressions["coreml"])
    hold_out = super_weights.hold_out(calibration.mean_squares)
    return Bench(checkpoint, ids, calibration, super_weights, hold_out, ends)


def eight_bit_ends(checkpoint: Checkpoint, plan: CompressionPlan) -> dict[str, np.ndarray]:
    """Embedding and head as packages store them by default, dequantized."""
    names = [matrix.name for matrix in plan.matrices if matrix.name not in set(checkpoint.spec.matrices())]
    ends = {name: CompressedDecoder(checkpoint, plan).tensor(name) for name in names}
    return {"lm_head": ends["embed_tokens"], **ends} if checkpoint.spec.tied_head else ends


def default_settings(spec: DecoderSpec) -> tuple[Settings, list[str]]:
    """Default settings with every target that supports the model, and a note for each target that does not."""
    targets, refused = [], []
    for name, target in TARGETS.items():
        try:
            make_plans(spec, Settings((name,)))
            targets.append(name)
        except UsageError as error:
            refused.append(f"No {target.title} package: {error}")
    return Settings(tuple(targets)), refused


class Package:
    """A package that is converted when its first row is measured."""

    def __init__(self, bench: Bench, settings: Settings, path: Path) -> None:
        self._bench, self._settings, self.path = bench, settings, path
        self._manifest: Manifest | None = None

    def made(self) -> Manifest:
        """The manifest, after the conversion."""
        if self._manifest is None:
            checkpoint = self._bench.checkpoint
            self._manifest = convert(checkpoint, self._settings, self.path, force=False, progress=Stages())
        return self._manifest
