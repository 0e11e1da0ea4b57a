"""Calibration as a conversion does it: with the type that error compensation multiplies in."""

from __future__ import annotations

from dataclasses import replace

from edgesw.calibration.calibrate import Calibration, calibrate
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.outliers.text_pass import exact_enough
from edgesw.progress import Progress
from edgesw.runtime.products import product_dtype
from edgesw.text.texts import Text
from edgesw.text.tokenizer import Tokenizer


def calibrated(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    text: Text | None,
    progress: Progress,
    *,
    effort: str = "balanced",
    gradients: bool = False,
) -> Calibration:
    """As `calibrate`, with bfloat16 products where this processor is faster at them and the float model predicts the
    same with them."""
    found = calibrate(checkpoint, tokenizer, text, progress, effort=effort, gradients=gradients)
    if found.ids is None:
        return found
    return replace(found, products=exact_enough(checkpoint.spec, checkpoint, found.ids, product_dtype()))
