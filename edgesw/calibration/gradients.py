"""How much the loss feels each matrix's output: mean squares of its gradient, in one streamed pass there and back."""

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
    """Float32 (rows,) by name for the layers' matrices, over windows of ids (batch, tokens): the mean over tokens of
    the squared gradient of the summed loss, in nats, with respect to the matrix's output.

    The loss is the cross entropy of tokens that the decoder itself is asked for at each place (drawn once, always the
    same): in the mean over draws, the squares are the diagonal of the Fisher information, which is the curvature of the
    KL divergence. `progress(layer)` is called on the way back.
    """
    streams = list(residual_stream(TorchOps(spec, weights, ids)))
    draw = torch.Generator().manual_seed(0)
    tops = [_head_gradient(spec, weights, x, draw) for x in streams.pop()]
    squares: dict[str, torch.Tensor] = {}
    for layer in reversed(range(spec.layers)):
        if progress:
            progress(spec.layers - 1 - layer)
        cached = CachedWeights(weights)  # one layer's: each is read once for all windows
        stream = streams.pop()
        for window in range(len(ids)):
            outputs: dict[str, torch.Tensor] = {}
            # A copy: what was made in inference mode takes no gradient.
            x = stream[window : window + 1].clone().requires_grad_()
            y = decoder_layer(TorchOps(spec, cached, ids[window : window + 1], _keeper(outputs)), layer, x)
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


def _keeper(outputs: dict[str, torch.Tensor]) -> Callable[[str, torch.Tensor, torch.Tensor, torch.Tensor], None]:
    def keep(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        y.retain_grad()
        outputs[name] = y

    return keep
