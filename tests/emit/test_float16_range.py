"""A residual stream beyond the float16 range: the package must divide it, not return infinities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_families import make

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import make_plan
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.formats.write_options import WriteOptions
from edgesw.runtime.coreml import CoreMLDecoder
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream
from edgesw.targets.coreml import CoreMLTarget
from edgesw.targets.registry import TARGETS

IDS = np.random.default_rng(7).integers(0, 96, 20)
CONTEXT = 64


def large(variant: str, folder: Path) -> Any:
    """A checkpoint whose residual stream exceeds 100,000 in the channel that one scalar, or one norm, writes to."""
    model = make(variant)
    layer = model.model.layers[0]
    with torch.no_grad():
        if variant == "gemma2":
            layer.post_feedforward_layernorm.weight[5] = 6e4
        else:
            layer.mlp.down_proj.weight[5, 100] = 6e4
    model.save_pretrained(folder)
    return open_checkpoint(str(folder))


@pytest.mark.parametrize("variant", ["llama", "llama-biased", "gemma2", "olmo"])
def test_a_stream_that_float16_cannot_hold_still_gives_the_models_logits(variant: str, tmp_path: Path) -> None:
    checkpoint = large(variant, tmp_path)
    spec = checkpoint.spec
    weights = CompressedDecoder(
        checkpoint,
        make_plan(spec, CoreMLTarget().capabilities(CoreMLLayout()), bits=8),
        None,
        HoldOut(scalars=((0, 5, 100),)),
    )
    largest = max(float(x.abs().max()) for x in residual_stream(TorchOps(spec, weights, IDS[None])))
    assert largest > 1e5
    expected = next(iter(FloatLogits(spec, weights, IDS[None])))

    def half(residual_max: float) -> np.ndarray:
        path = tmp_path / f"{residual_max:.0f}.mlpackage"
        TARGETS["coreml"].write(weights, spec, CoreMLLayout(), WriteOptions(CONTEXT, "tiny", residual_max), path)
        return CoreMLDecoder(MilProgram(path, precision="float16"), CONTEXT, "interpreter").step(IDS)

    def right(logits: np.ndarray) -> int:
        """The number of tokens with the right logits; without input to the scalar, rounding alone decides them."""
        return int((np.abs(logits - expected).max(-1) < 0.05 * np.abs(expected).max()).sum())

    assert right(half(largest)) >= 18
    assert right(half(0.0)) < 18, "the checkpoint of this test fits float16 anyway"
