"""What the experiments must come to, by transformers' own decoder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tiny import SUPER_WEIGHT

from edgesw.study.evaluation import Measured


def scale_super_weight(model: Any, factor: float) -> None:
    layer, row, column = SUPER_WEIGHT
    with torch.no_grad():
        model.model.layers[layer].mlp.down_proj.weight[row, column] *= factor


def matrices(model: Any) -> dict[str, torch.nn.Linear]:
    """The layers' matrices by edgesw's names, in its order."""
    kinds = (("self_attn", "qkvo"), ("mlp", ("gate", "up", "down")))
    return {
        f"layers.{index}.{kind}_proj": getattr(getattr(layer, part), f"{kind}_proj")
        for index, layer in enumerate(model.model.layers)
        for part, names in kinds
        for kind in names
    }


def logits(model: Any, ids: np.ndarray) -> Iterator[torch.Tensor]:
    """(tokens, vocabulary) of each window by itself."""
    with torch.inference_mode():
        for window in ids:
            yield model(torch.from_numpy(window[None])).logits[0]


def measured(model: Any, ids: np.ndarray, float_model: Any) -> Measured:
    """Perplexity by transformers' own loss (windows are equally long, so the mean of means is the mean)."""
    losses, right, same = [], [], []
    with torch.inference_mode():
        for window in torch.from_numpy(ids):
            out = model(window[None], labels=window[None])
            losses.append(float(out.loss))
            top = out.logits[0, :-1].argmax(-1)
            right.append(float((top == window[1:]).float().mean()))
            same.append(float((top == float_model(window[None]).logits[0, :-1].argmax(-1)).float().mean()))
    return Measured(float(np.exp(np.mean(losses))), float(np.mean(right)), float(np.mean(same)))
