"""Switches of a decoder that configs of several families state in the same keys: biases, windows, the activation."""

from __future__ import annotations

import reprlib
from typing import Literal

from edgesw.errors import UnsupportedError
from edgesw.families.config import Config


def biased(config: Config) -> tuple[str, ...]:
    """The matrices that have a bias by `attention_bias` and `mlp_bias`."""
    attention = ("q_proj", "k_proj", "v_proj", "o_proj") if config.flag("attention_bias", False) else ()
    return (*attention, *(("gate_proj", "up_proj", "down_proj") if config.flag("mlp_bias", False) else ()))


def windows(config: Config) -> tuple[int | None, ...]:
    """Each layer's attention window: `sliding_window` for the layers that slide by `layer_types`, None for the others.

    Without `layer_types` all layers have the window, if there is one. UnsupportedError for layers of other types.
    """
    layers = config.layers()
    window = None if config.absent("sliding_window") else config.size("sliding_window")
    types = config.layer_list("layer_types", layers)
    if types is None:
        return (window,) * layers
    for kind in types:
        if kind not in ("full_attention", "sliding_attention"):
            what = f"'layer_types' has {reprlib.repr(kind)}, which is not supported"
            raise UnsupportedError(f"{config.where}: {what}: use another model.")
    if window is None and "sliding_attention" in types:
        raise config.wrong("sliding_window", "must be a number of tokens, as 'layer_types' has layers with a window")
    return tuple(window if kind == "sliding_attention" else None for kind in types)


_ACTIVATIONS: dict[str, Literal["silu", "gelu_tanh"]] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}


def activation(config: Config) -> Literal["silu", "gelu_tanh"]:
    """The activation of the MLP, by transformers' names. UnsupportedError for one that the decoder lacks."""
    key = next((key for key in ("hidden_activation", "hidden_act") if not config.absent(key)), "hidden_act")
    return config.choice(key, _ACTIVATIONS)
