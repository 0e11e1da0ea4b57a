"""Streams: run batch by batch, the decoder gives the same logits as in one piece, for every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny_families
import torch

from edgesw.calibration.gradients import output_gradients
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.decoder.decoder import decoder
from edgesw.runtime import streams
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream


@pytest.mark.parametrize("variant", sorted(tiny_families.VARIANTS))
def test_batches_give_the_logits_of_the_whole(variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calibration on streams would otherwise fit the matrices to inputs that the model never sees."""
    tiny_families.save(variant, tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    ids = np.random.default_rng(0).integers(3, 90, (5, 24))
    monkeypatch.setattr(streams, "BATCH_TOKENS", 48)  # two windows at a time, the last alone
    with torch.inference_mode():
        whole = decoder(TorchOps(checkpoint.spec, checkpoint, ids))
        parts = list(decoder(streams.StreamOps(checkpoint.spec, checkpoint, ids)))
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5, rtol=1e-4)


def test_a_stream_that_is_not_cached_is_computed_when_it_is_read() -> None:
    """The MLP's wide tensors for a whole text would not fit in memory."""
    made = []

    def make(batch: int) -> torch.Tensor:
        made.append(batch)
        return torch.full((1,), float(batch))

    stream = streams.Stream((1, 1, 1), make).map(lambda batch, part: part + 10 * batch)
    assert made == []
    cached = stream.cached()
    assert made == [0, 1, 2]
    assert [part.item() for part in cached] == [0, 11, 22] == [part.item() for part in stream]
    assert made == [0, 1, 2, 0, 1, 2]


def test_streams_that_end_in_the_wrong_order_leave_gradients_on(tmp_path: Path) -> None:
    """Torch's inference mode, left on by an iterator that ended early, broke the next measurement of gradients."""
    tiny_families.save("llama", tmp_path)
    checkpoint = open_checkpoint(str(tmp_path))
    ids = np.arange(3, 9)[None]
    one, two = (iter(FloatLogits(checkpoint.spec, checkpoint, ids)) for _ in range(2))
    next(one), next(two)
    first, second = (residual_stream(TorchOps(checkpoint.spec, checkpoint, ids)) for _ in range(2))
    next(first), next(second)
    for iterator in (first, one, second, two):
        iterator.close()  # type: ignore[attr-defined]
    assert not torch.is_inference_mode_enabled()
    assert all(gradients.any() for gradients in output_gradients(checkpoint.spec, checkpoint, ids).values())
