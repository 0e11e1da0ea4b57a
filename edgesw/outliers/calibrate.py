"""What the float model makes of a text: the range of its residual stream, the mean squares of its matrices' inputs."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.ops import Weights
from edgesw.outliers.find import check_ids
from edgesw.progress import Progress
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.texts import Text, shipped_text, windows
from edgesw.tokenizer import Tokenizer

CALIBRATION_WINDOWS, CALIBRATION_TOKENS = 8, 512
# Correlations between channels take more text to be told from chance than their mean squares do.
COMPENSATION_WINDOWS = 16


@dataclass(frozen=True)
class Calibration:
    """What matrices are fitted to, and what the float model makes of it."""

    text_sha256: str | None
    """None: each matrix is fitted to itself."""
    ids: np.ndarray | None
    """The text's windows, int64 (windows, tokens)."""
    mean_squares: dict[str, np.ndarray]
    """Of the float model's inputs: float32 (columns,) by matrix name."""
    residual_max: float
    """Largest magnitude in the residual stream."""


def calibrate(checkpoint: Checkpoint, tokenizer: Tokenizer, text: Text | None, progress: Progress) -> Calibration:
    """One streamed pass over `text`. Without one, over a window of the shipped text, and only for the residual stream.

    CheckpointError when the tokenizer is another model's, UsageError for a text of less than two tokens.
    """
    spec = checkpoint.spec
    tokens = min(CALIBRATION_TOKENS, spec.max_positions)
    ids = windows(text or shipped_text("calibration"), tokenizer, COMPENSATION_WINDOWS, tokens)
    check_ids(ids, checkpoint)
    moments, residual_max = _pass(
        spec,
        checkpoint,
        ids[: CALIBRATION_WINDOWS if text else 1],
        lambda layer: progress("Calibrating", f"layer {layer}", layer, spec.layers),
    )
    if text is None:
        return Calibration(None, None, {}, residual_max)
    return Calibration(text.sha256, ids, moments, residual_max)


def input_mean_squares(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """Mean square of each layer matrix's input, float32 (columns,) by name, over windows of ids (batch, tokens).

    The first token counts too: the super activation that it carries is what a matrix must not lose.
    """
    return _pass(spec, weights, ids, progress)[0]


def _pass(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None
) -> tuple[dict[str, np.ndarray], float]:
    """The mean squares, and the largest magnitude in the residual stream."""
    moments: dict[str, np.ndarray] = {}
    last: tuple[weakref.ref[torch.Tensor], np.ndarray] | None = None

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        nonlocal last
        if last is None or last[0]() is not x:
            # A copy in numpy's own memory: a small block of torch's that is kept pins the large ones freed around it,
            # and what is resident grows by a gigabyte.
            last = weakref.ref(x), x.square().mean((0, 1)).numpy().copy()
        moments[name] = last[1]  # matrices that read one tensor (query, key and value; gate and up) share its vector

    largest = 0.0
    for layer, x in enumerate(residual_stream(TorchOps(spec, weights, ids, observe))):
        least, most = x.aminmax()  # unlike abs().max(), without a copy of the stream
        largest = max(largest, -float(least), float(most))
        if progress:
            progress(layer)
    return moments, largest
