"""Which columns are held out whole."""

from __future__ import annotations

import numpy as np

from edgesw.outliers.columns import columns_of, joined, spiking_columns


def test_columns_whose_input_spikes_are_named() -> None:
    """Compared with their own matrix: inputs of one matrix may be a million times those of another."""
    quiet, loud = np.full(100, 1e-6, np.float32), np.full(100, 10, np.float32)
    loud[[40, 7]] = 2000.0
    found = spiking_columns(
        {"layers.0.q_proj": quiet, "layers.1.down_proj": loud, "layers.2.down_proj": loud * 1e-6}, 12
    )
    assert found == {"layers.1.down_proj": (7, 40), "layers.2.down_proj": (7, 40)}


def test_an_input_that_is_always_zero_names_nothing() -> None:
    """Zero is at least any multiple of zero: the whole matrix would be held out, and compressed to nothing."""
    assert spiking_columns({"layers.0.q_proj": np.zeros(64, np.float32)}, 12) == {}


def test_what_is_held_out_whole_stays_a_small_part() -> None:
    """At most one column in twelve can have twelve times the mean, whatever the inputs are."""
    worst = np.zeros(120, np.float32)
    worst[:10] = 1.0
    assert spiking_columns({"layers.0.q_proj": worst}, 12) == {"layers.0.q_proj": tuple(range(10))}
    worst[10] = 1.0
    assert spiking_columns({"layers.0.q_proj": worst}, 12) == {}


def test_columns_of_super_weights_join_those_that_spike() -> None:
    """Named twice, a column would be corrected twice."""
    scalars = columns_of([(3, 9, 70), (3, 8, 70), (3, 9, 5), (1, 0, 2)])
    assert scalars == {"layers.3.down_proj": (5, 70), "layers.1.down_proj": (2,)}
    both = joined(scalars, {"layers.3.down_proj": (70, 6), "layers.0.q_proj": (1,)})
    assert both == {"layers.3.down_proj": (5, 6, 70), "layers.1.down_proj": (2,), "layers.0.q_proj": (1,)}
