"""The columns that are held out whole: outlier channels, and those that set the range of an input."""

from __future__ import annotations

import numpy as np

from edgesw.calibration.outlier_channels import columns_of, joined, outlier_channels_by_matrix, range_channels


def test_columns_whose_input_spikes_are_named() -> None:
    """Compared with their own matrix: inputs of one matrix may be a million times those of another."""
    quiet, loud = np.full(100, 1e-6, np.float32), np.full(100, 10, np.float32)
    loud[[40, 7]] = 2000.0
    found = outlier_channels_by_matrix(
        {"layers.0.q_proj": quiet, "layers.1.down_proj": loud, "layers.2.down_proj": loud * 1e-6}, 12
    )
    assert found == {"layers.1.down_proj": (7, 40), "layers.2.down_proj": (7, 40)}


def test_an_input_that_is_always_zero_names_nothing() -> None:
    """Zero is at least any multiple of zero: the whole matrix would be held out, and compressed to nothing."""
    assert outlier_channels_by_matrix({"layers.0.q_proj": np.zeros(64, np.float32)}, 12) == {}


def test_what_is_held_out_whole_stays_a_small_part() -> None:
    """At most one column in twelve can have twelve times the mean, whatever the inputs are."""
    worst = np.zeros(120, np.float32)
    worst[:10] = 1.0
    assert outlier_channels_by_matrix({"layers.0.q_proj": worst}, 12) == {"layers.0.q_proj": tuple(range(10))}
    worst[10] = 1.0
    assert outlier_channels_by_matrix({"layers.0.q_proj": worst}, 12) == {}


def test_columns_of_super_weights_join_those_that_spike() -> None:
    """Named twice, a column would be corrected twice."""
    scalars = columns_of([(3, 9, 70), (3, 8, 70), (3, 9, 5), (1, 0, 2)])
    assert scalars == {"layers.3.down_proj": (5, 70), "layers.1.down_proj": (2,)}
    both = joined(scalars, {"layers.3.down_proj": (70, 6), "layers.0.q_proj": (1,)})
    assert both == {"layers.3.down_proj": (5, 6, 70), "layers.1.down_proj": (2,), "layers.0.q_proj": (1,)}


def test_columns_that_set_a_range_are_named_until_rounding_the_rest_is_quiet() -> None:
    """Too few, and the rest is lost in the steps of a spike; too many, and the matrix is float."""
    random = np.random.default_rng(0)
    values = random.standard_normal((500, 256)) * 0.1
    values[0, 40], values[7, 3] = 900.0, -50.0  # a spike of one token counts, whatever its mean square
    inputs = values.astype(np.float32)

    def noise(columns: tuple[int, ...]) -> float:
        """What rounding to 255 steps of what is left does to the columns without a spike, beside their power."""
        step = 2 * np.abs(np.delete(inputs, columns, axis=1)).max() / 255
        quiet = np.delete(inputs, (3, 40), axis=1)
        return float(np.square(np.round(quiet / step) * step - quiet).mean() / np.square(quiet).mean())

    columns = range_channels(np.square(inputs).mean(0), np.stack([inputs.min(0), inputs.max(0)]))
    assert columns == (3, 40)
    assert noise(()) > 0.9 and noise((40,)) > 0.1
    assert noise(columns) < 1e-3


def test_columns_that_set_a_range_stay_a_small_part() -> None:
    """Inputs that are nearly always zero are never quiet: no more than one column in 32 is held out for them."""
    inputs = np.zeros((4000, 64), np.float32)
    inputs[np.arange(64) * 60, np.arange(64)] = 1.0
    columns = range_channels(np.square(inputs).mean(0), np.stack([inputs.min(0), inputs.max(0)]))
    assert len(columns) == 2
    assert range_channels(np.zeros(64, np.float32), np.zeros((2, 64), np.float32)) == ()
