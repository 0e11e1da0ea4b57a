"""What calibration says of the inputs of matrices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from edgesw.calibration.calibrate import CALIBRATION_TOKENS, CALIBRATION_WINDOWS, calibrate
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer


def test_extremes_and_mean_squares_are_those_of_transformers_layers(tiny_llama: Path) -> None:
    """Static ranges come of the one and columns held out of the other: wrong ones cut activations off."""
    tokenizer, text = Tokenizer.from_folder(tiny_llama), shipped_text("calibration")
    found = calibrate(open_checkpoint(str(tiny_llama)), tokenizer, text, lambda *_: None)
    model = LlamaForCausalLM.from_pretrained(tiny_llama).eval()
    seen: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        return lambda module, inputs, output: seen.__setitem__(name, inputs[0])

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_hook(watch(re.sub(r"^model\.|self_attn\.|mlp\.", "", name)))
    with torch.inference_mode():
        model(torch.from_numpy(windows(text, tokenizer, CALIBRATION_WINDOWS, CALIBRATION_TOKENS)))
    assert set(seen) == set(found.extremes) == set(found.mean_squares)
    for name, x in seen.items():
        low, high = found.extremes[name]
        np.testing.assert_allclose(low, x.amin((0, 1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(high, x.amax((0, 1)), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.mean_squares[name], x.square().mean((0, 1)), rtol=1e-3, atol=1e-6)
