"""Output gradients: how sensitive the loss is to each matrix's output, from a streamed forward and backward pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgesw.decoder.decoder import decoder_head, decoder_layer
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import CachedWeights
from edgesw.runtime.torch import TorchOps, residual_stream


def output_gradients(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """The squared gradient of the summed loss, in nats, with respect to each matrix's output, as a mean over the tokens
    of windows of ids (batch, tokens): float32 (rows,) by name for the layers' matrices.

    The loss is the cross entropy of tokens that are drawn from the decoder's own distribution (one draw, with a fixed
    seed). In the mean over draws the squares are the diagonal of the Fisher information, the curvature of the KL
    divergence. `progress(steps done)` is called in the backward pass.
    """
    streams = list(residual_stream(TorchOps(spec, weights, ids)))
    draw = torch.Generator().manual_seed(0)
    tops = [_head_gradient(spec, weights, x, draw) for x in streams.pop()]
    squares: dict[str, torch.Tensor] = {}
    for layer in reversed(range(spec.layers)):
        if progress:
            progress(spec.layers - 1 - layer)
        cached = CachedWeights(weights)  # of one layer: each tensor is read once for all windows
        stream = streams.pop()
        for window in range(len(ids)):
            outputs: dict[str, torch.Tensor] = {}
            # A copy: tensors that were made in inference mode have no gradient.
            x = stream[window : window + 1].clone().requires_grad_()
            y = decoder_layer(TorchOps(spec, cached, ids[window : window + 1], _recorder(outputs)), layer, x)
            y.backward(tops[window][None])
            assert x.grad is not None
            tops[window] = x.grad[0]
            for name, output in outputs.items():
                assert output.grad is not None
                squares[name] = squares.get(name, torch.zeros(())) + output.grad[0].square().mean(0) / len(ids)
    return {name: squares[name].numpy() for name in spec.matrices()}


def _head_gradient(spec: DecoderSpec, weights: Weights, x: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Gradient of a window's summed loss with respect to the last residual stream, (tokens, hidden)."""
    x = x.clone().requires_grad_()
    logits = decoder_head(TorchOps(spec, weights, np.zeros((1, len(x)), np.int64)), x)
    labels = torch.multinomial(torch.softmax(logits.detach(), -1), 1, generator=draw)[:, 0]
    torch.nn.functional.cross_entropy(logits, labels, reduction="sum").backward()
    assert x.grad is not None
    return x.grad


def _recorder(outputs: dict[str, torch.Tensor]) -> Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]:
    """An observer of TorchOps that records the outputs by name, with their gradients once they are computed."""

    def record(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        y.retain_grad()
        outputs[name] = y

    return record
