"""Calibration: statistics of each matrix's input over a text, from one streamed pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from edgesw.calibration.effort import MOST_WINDOWS, compensation_windows
from edgesw.calibration.gradients import output_gradients
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError, UsageError
from edgesw.progress import Progress
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.text.texts import Text, load_file, shipped_text, windows
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

CALIBRATION_WINDOWS, CALIBRATION_TOKENS = 8, 512


@dataclass(frozen=True)
class Calibration:
    """Statistics of a calibration text. Without a text they are empty."""

    text_sha256: str | None = None
    mean_squares: dict[str, np.ndarray] = field(default_factory=dict)
    """Of each matrix's input: float32 (columns,) by matrix name."""
    extremes: dict[str, np.ndarray] = field(default_factory=dict)
    """The smallest and the largest value in each column of a matrix's input: float32 (2, columns) by matrix name."""
    residual_max: float = 0.0
    """Largest magnitude in the residual stream."""
    output_gradients: dict[str, np.ndarray] = field(default_factory=dict)
    """Float32 (rows,) by matrix name, if asked for: see `edgesw.calibration.gradients`."""
    ids: np.ndarray | None = None
    """The windows for error compensation, int64 (windows, tokens); None: no compensation."""
    products: torch.dtype = torch.float32
    """The type of what error compensation multiplies with the text's inputs."""


def calibration_text(name: str) -> Text | None:
    """The shipped text for `default`, None for `none`, otherwise a UTF-8 file. UsageError if it cannot be read."""
    if name == "none":
        return None
    return shipped_text("calibration") if name == "default" else load_file(name, "--calibrate")


def calibrate(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    text: Text | None,
    progress: Progress,
    *,
    effort: str = "balanced",
    gradients: bool = False,
) -> Calibration:
    """Calibrates in one streamed pass over some windows spread over the text, and in a forward and backward pass for
    `gradients`. `effort` is one of EFFORTS.

    CheckpointError if the tokenizer is that of another model, UsageError if the text is too short.
    """
    if text is None:
        return Calibration()
    spec = checkpoint.spec
    every = windows(text, tokenizer, MOST_WINDOWS, min(CALIBRATION_TOKENS, spec.max_positions))
    error = CheckpointError if text.shipped else UsageError
    check_ids(every, spec.vocab_size, tokenizer, text.name, error)
    read = spread(every, compensation_windows(spec.parameters(), effort))
    ids = spread(read if len(read) else every, CALIBRATION_WINDOWS)
    inputs, residual_max = _pass(
        spec, checkpoint, ids, lambda layer: progress("Calibrating", f"layer {layer}", layer, spec.layers)
    )
    squared_gradients = {}
    if gradients:
        squared_gradients = output_gradients(
            spec, checkpoint, ids, lambda step: progress("Measuring gradients", f"step {step}", step, spec.layers)
        )
    mean_squares, extremes = ({name: each[part] for name, each in inputs.items()} for part in (0, slice(1, 3)))
    return Calibration(
        text.sha256, mean_squares, extremes, residual_max, squared_gradients, read if len(read) else None
    )


def spread(ids: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the windows, at equal distances: a text changes its subjects and languages on the way."""
    return ids if len(ids) <= count else ids[np.arange(count) * len(ids) // max(count, 1)]


def input_mean_squares(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """The mean square of the input of each of the layers' matrices, float32 (columns,) by name, over windows of ids
    (batch, tokens). The first token counts too: it carries the super activation, which no matrix may lose."""
    return {name: each[0] for name, each in _pass(spec, weights, ids, progress)[0].items()}


def _pass(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None
) -> tuple[dict[str, np.ndarray], float]:
    """The mean squares, smallest and largest values of each matrix's input, float32 (3, columns) by name, and the
    largest magnitude in the residual stream."""
    inputs: dict[str, np.ndarray] = {}
    last: tuple[weakref.ref[torch.Tensor], np.ndarray] | None = None

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        nonlocal last
        if last is None or last[0]() is not x:
            # A copy in numpy's own memory: a small block that torch allocated keeps the large freed blocks around it
            # from going back to the system, and resident memory grows by a gigabyte.
            each = (x.square().mean((0, 1)), x.amin((0, 1)), x.amax((0, 1)))
            last = weakref.ref(x), np.stack([part.numpy() for part in each])
        inputs[name] = last[1]  # matrices with one input (query, key and value; gate and up) share its vectors

    largest = 0.0
    for layer, x in enumerate(residual_stream(TorchOps(spec, weights, ids, observe))):
        least, most = x.aminmax()  # unlike abs().max(), without a copy of the stream
        largest = max(largest, -float(least), float(most))
        if progress:
            progress(layer)
    return inputs, largest
