"""The type in which a conversion's error compensation multiplies."""

from __future__ import annotations

from dataclasses import replace

from edgesw.calibration.calibrate import Calibration
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.outliers.text_pass import exact_enough
from edgesw.runtime.products import product_dtype


def with_products(checkpoint: Checkpoint, calibration: Calibration) -> Calibration:
    """The calibration with bfloat16 products where this processor is faster at them and the float model predicts the
    same with them."""
    if calibration.ids is None:
        return calibration
    dtype = exact_enough(checkpoint.spec, checkpoint, calibration.ids, product_dtype())
    return replace(calibration, products=dtype)
