"""How much each input channel of each matrix matters: its mean square over a text, in one streamed pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.ops import Weights
from edgesw.runtime.torch import TorchOps, residual_stream


def input_mean_squares(
    spec: DecoderSpec, weights: Weights, ids: np.ndarray, progress: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """Mean square of each layer matrix's input, float32 (columns,) by name, over windows of ids (batch, tokens).

    The first token counts too: the super activation that it carries is what a matrix must not lose.
    """
    moments: dict[str, np.ndarray] = {}

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        moments[name] = x.square().mean((0, 1)).numpy()

    for layer, _ in enumerate(residual_stream(TorchOps(spec, weights, ids, observe))):
        if progress:
            progress(layer)
    return moments
