"""What a conversion holds out of influential scalars."""

from __future__ import annotations

import numpy as np

from edgesw.conversion.hold_out import SuperWeights


def test_the_columns_of_influential_scalars_are_held_out_without_calibration_too() -> None:
    """Their columns lower the divergence; with `--calibrate none` no outlier channel would bring them in."""
    found = SuperWeights({(1, 5, 7): 3.0}, influential=((1, 5, 2), (0, 5, 9)))
    assert found.hold_out({}).columns == {"layers.0.down_proj": (9,), "layers.1.down_proj": (2, 7)}
    assert SuperWeights({}).hold_out({"layers.0.down_proj": np.ones(4)}).columns == {}
