"""StreamedDecoder: each layer compressed to what a text makes of its inputs, after the layers before it as stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.compensate import Feedback, compensate
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.decoder import decoder_layer
from edgesw.decoder.ops import Weights
from edgesw.outliers.calibrate import Calibration
from edgesw.runtime.torch import TorchOps

# A token counts in the moments as if its input were no larger than this many times the median token's, squared. The
# super activation's token must count, or the super activation is lost; at its full size nothing else would.
LOUDEST = 10.0
# Damping for as many tokens as columns. Fewer tokens show correlations that the next text has not.
DAMPING = 8.0


class StreamedDecoder(CompressedDecoder):
    """A `CompressedDecoder` whose layers' matrices make up for their own errors, on inputs with those of the layers
    before.

    The windows of `ids` (batch, tokens) run through one layer when a matrix of it is first asked for: each matrix is
    compressed to the second moments of its input, and its output is made by the compressed matrix. In memory are one
    layer's matrices and the residual stream, float32 (batch, tokens, hidden). In forward order each layer is run once;
    asking for a layer that has passed begins anew. Embedding and head are compressed by themselves.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        plan: CompressionPlan,
        ids: np.ndarray,
        held_out: Iterable[tuple[int, int, int]] = (),
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """As `CompressedDecoder`; `ids` are int64 (windows, tokens)."""
        super().__init__(weights, plan, None, held_out, progress)
        self._ops = _CompressingOps(spec, weights, ids, self._compensated)
        self._stream: torch.Tensor | None = None
        self._layer = -1
        self._matrices: dict[str, CompressedMatrix] = {}

    def matrix(self, name: str) -> CompressedMatrix:
        """The compressed matrix. CheckpointError for one that holds NaN or infinity."""
        if not name.startswith("layers."):
            return super().matrix(name)
        layer = int(name.split(".")[1])
        if layer < self._layer:
            self._layer, self._stream = -1, None
        while self._layer < layer:
            self._next_layer()
        return self._matrices[name]

    def _next_layer(self) -> None:
        self._matrices.clear()
        with torch.inference_mode():
            stream = self._ops.embedding("embed_tokens") if self._stream is None else self._stream
            self._stream = decoder_layer(self._ops, self._layer + 1, stream)
        self._layer += 1

    def _compensated(self, name: str, feedback: Feedback) -> np.ndarray:
        """Compress a matrix and keep it; what it stands for, float32 (rows, columns)."""
        if self._progress:
            self._progress(name)
        matrix = compensate(self._finite(name), feedback, self.plan.scheme(name), self._places(name))
        self._matrices[name] = matrix
        return matrix.dequantize()


def compressed_decoder(
    checkpoint: Checkpoint,
    plan: CompressionPlan,
    calibration: Calibration,
    held_out: Iterable[tuple[int, int, int]] = (),
    progress: Callable[[str], None] | None = None,
) -> CompressedDecoder:
    """What measured best for the plan: compensation for palettes, mean squares for block integers (see
    docs/compression.md)."""
    if calibration.ids is None or not any(matrix.scheme.kind == "palette" for matrix in plan.matrices):
        return CompressedDecoder(checkpoint, plan, calibration.mean_squares, held_out, progress)
    return StreamedDecoder(checkpoint.spec, checkpoint, plan, calibration.ids, held_out, progress)


class _CompressingOps(TorchOps):
    """Runs a layer on matrices that are compressed when their input is known."""

    def __init__(
        self, spec: DecoderSpec, weights: Weights, ids: np.ndarray, compress: Callable[[str, Feedback], np.ndarray]
    ) -> None:
        super().__init__(spec, weights, ids)
        self._compress = compress
        self._input: torch.Tensor | None = None
        self._feedback: Feedback | None = None

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        if self._input is not x or self._feedback is None:  # query, key and value read one tensor; so do gate and up
            self._input, self._feedback = x, input_feedback(x)
        weight = torch.from_numpy(self._compress(name, self._feedback))
        bias = self._tensor(f"{name}.bias") if name.rsplit(".", 1)[-1] in self.spec.biased else None
        return F.linear(x, weight, bias)


def input_feedback(x: torch.Tensor) -> Feedback:
    """What compensation needs of an input (batch, tokens, columns): its second moments, no token too loud, damped."""
    flat = x.flatten(0, 1).float()
    tokens, columns = flat.shape
    loudness = flat.square().mean(1)
    limit = LOUDEST * float(loudness.median())
    share = torch.clamp(limit / loudness.clamp(min=1e-30), max=1) if limit else torch.ones_like(loudness)
    moments = (flat * share[:, None]).T @ flat / tokens
    return Feedback.of(moments.numpy(), DAMPING * columns / tokens)
