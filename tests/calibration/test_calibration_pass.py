"""What calibration says of the inputs of matrices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from edgesw.calibration.calibrate import CALIBRATION_TOKENS, CALIBRATION_WINDOWS, calibrate
from edgesw.calibration.effort import compensation_windows
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer


def test_extremes_and_mean_squares_are_those_of_transformers_layers(tiny_llama: Path) -> None:
    """Static ranges come of the one and columns held out of the other: wrong ones cut activations off."""
    tokenizer, text = Tokenizer.from_folder(tiny_llama), shipped_text("calibration")
    found = calibrate(open_checkpoint(str(tiny_llama)), tokenizer, text, lambda *_: None)
    assert found.ids is not None and len(found.ids) == 32
    model = LlamaForCausalLM.from_pretrained(tiny_llama).eval()
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        return lambda module, inputs, output: seen.__setitem__(name, inputs[0])

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_hook(watch(re.sub(r"^model\.|self_attn\.|mlp\.", "", name)))
    with torch.inference_mode():
        model(torch.from_numpy(found.ids[:: len(found.ids) // CALIBRATION_WINDOWS]))
    assert set(seen) == set(found.extremes) == set(found.mean_squares)
    for name, x in seen.items():
        low, high = found.extremes[name]
        np.testing.assert_allclose(low, x.amin((0, 1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(high, x.amax((0, 1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.mean_squares[name], x.square().mean((0, 1)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("effort", "count"), [("fast", 0), ("balanced", 32), ("best", 256)])
def test_compensation_reads_windows_from_all_of_the_text(tiny_llama: Path, effort: str, count: int) -> None:
    """The shipped text begins with one register and ends with many languages: its first windows would speak for one."""
    tokenizer, text = Tokenizer.from_folder(tiny_llama), shipped_text("calibration")
    every = windows(text, tokenizer, 256, CALIBRATION_TOKENS)
    found = calibrate(open_checkpoint(str(tiny_llama)), tokenizer, text, lambda *_: None, effort=effort)
    if not count:
        assert found.ids is None
        return
    assert found.ids is not None and len(found.ids) == min(count, len(every))
    at = [int(np.flatnonzero((every == window).all(1))[0]) for window in found.ids]
    steps = np.diff([*at, len(every)])
    assert at[0] == 0 and steps.min() >= 1 and steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("parameters", "count"), [(260e3, 32), (135e6, 32), (600e6, 16), (1.2e9, 11), (7.2e9, 8)])
def test_no_model_is_too_large_for_compensation(parameters: float, count: int) -> None:
    """From 600 million parameters on, which is what people ship, conversions once went without."""
    assert compensation_windows(int(parameters), "balanced") == count
