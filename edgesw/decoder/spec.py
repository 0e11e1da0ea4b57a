"""DecoderSpec: a decoder in numbers and switches, which is all that later stages know of an architecture."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from edgesw.decoder.names import TensorName

# The matrices of one layer, in the order in which a forward pass meets them.
LAYER_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LAYER_NORMS = ("attention_norm", "q_norm", "k_norm", "attention_output_norm", "mlp_norm", "mlp_output_norm")


@dataclass(frozen=True)
class Rotary:
    """A rotary position embedding (arXiv 2104.09864), with any scaling worked into its frequencies."""

    frequencies: tuple[float, ...]
    """Radians per position, for each of the head_dim / 2 pairs of channels; pairs with zero come last and are not
    rotated."""
    scale: float = 1.0
    """The factor of cosines and sines."""
    long_frequencies: tuple[float, ...] = ()
    """Used instead, for every position, when there are more than `long_from` positions. Empty: never."""
    long_from: int = 0

    @property
    def still(self) -> int:
        """The number of pairs of a head that are not rotated."""
        return self.frequencies.count(0.0)


@dataclass(frozen=True)
class DecoderSpec:
    """Shape and switches of a decoder-only transformer. The defaults of the switches are Llama's.

    Canonical tensor names, used everywhere: `embed_tokens`, `norm`, `lm_head` and, after `layers.N.`, the matrices
    `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`, their biases (`q_proj.bias`, ...) and
    the norms `attention_norm`, `q_norm`, `k_norm`, `attention_output_norm`, `mlp_norm`, `mlp_output_norm`. Matrices are
    (rows, columns) = (output channels, input channels), as stored by Hugging Face, rotary halves not interleaved. Where
    only some channels of a head are rotated, those come first in each half.
    The tensor of a norm holds the factors of the normalized channels.
    """

    family: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    norm_eps: float
    tied_head: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]
    rotaries: tuple[Rotary, ...]
    layer_rotary: tuple[int | None, ...]
    """Which of `rotaries` each layer has; None for no position embedding."""
    layer_windows: tuple[int | None, ...]
    """How many tokens, itself included, a token of each layer attends to; None for all before it."""
    norm: Literal["rms", "layer"] = "rms"
    """Root mean square norms with weights, or layer norms without any."""
    norm_before: bool = True
    """Whether there are norms before attention and MLP."""
    norm_after: bool = False
    """Whether there are norms after attention and MLP, before these are added to the residual stream."""
    qk_norm: Literal["none", "head", "whole"] = "none"
    """Norms of queries and keys before they are rotated: head by head, or all heads as one."""
    biased: tuple[str, ...] = ()
    """The kinds of matrices with a bias."""
    activation: Literal["silu", "gelu_tanh"] = "silu"
    embedding_scale: float = 1.0
    attention_scale: float | None = None
    """The factor of attention scores; None for head_dim^-0.5."""
    attention_softcap: float | None = None
    """Scores s become c * tanh(s / c)."""
    logit_softcap: float | None = None
    clip_qkv: float | None = None
    """Queries, keys and values are clipped to this magnitude."""

    @property
    def score_scale(self) -> float:
        """The factor of the products of queries and keys."""
        return self.head_dim**-0.5 if self.attention_scale is None else self.attention_scale

    def rotary(self, layer: int) -> Rotary | None:
        """The position embedding of a layer, or None."""
        index = self.layer_rotary[layer]
        return None if index is None else self.rotaries[index]

    def shape(self, name: str) -> tuple[int, ...] | None:
        """(rows, columns) of a matrix, (channels,) of a norm or bias; None for a tensor that the decoder lacks."""
        kind = TensorName.parse(name).kind
        if kind.endswith(".bias"):
            matrix = kind.removesuffix(".bias")
            return self.matrix_shape(matrix)[:1] if matrix in self.biased else None
        if not kind.endswith("norm"):
            return None if kind == "lm_head" and self.tied_head else self.matrix_shape(kind)
        if kind in ("q_norm", "k_norm"):
            heads = self.heads if kind == "q_norm" else self.kv_heads
            return {"none": None, "head": (self.head_dim,), "whole": (heads * self.head_dim,)}[self.qk_norm]
        exists = {"norm": True, "attention_norm": self.norm_before, "mlp_norm": self.norm_before}
        return (self.hidden_size,) if self.norm == "rms" and exists.get(kind, self.norm_after) else None

    def matrix_shape(self, name: str) -> tuple[int, int]:
        """(rows, columns) of the matrix with this canonical name. KeyError for a name that is not a matrix's."""
        hidden, inner = self.hidden_size, self.intermediate_size
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (query, hidden),
            "k_proj": (key, hidden),
            "v_proj": (key, hidden),
            "o_proj": (hidden, query),
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "down_proj": (hidden, inner),
            "embed_tokens": (self.vocab_size, hidden),
            "lm_head": (self.vocab_size, hidden),
        }[TensorName.parse(name).kind]

    def matrices(self) -> list[str]:
        """Canonical names of all matrices of the layers in forward order, without embedding and head."""
        return [str(TensorName(layer, kind)) for layer in range(self.layers) for kind in LAYER_MATRICES]

    def parameters(self) -> int:
        """The number of parameters; a tied head counts once."""
        kinds = (*LAYER_MATRICES, *(f"{kind}.bias" for kind in LAYER_MATRICES), *LAYER_NORMS)
        layer = sum(prod(self.shape(str(TensorName(0, kind))) or (0,)) for kind in kinds)
        ends = sum(prod(self.shape(name) or (0,)) for name in ("embed_tokens", "norm", "lm_head"))
        return self.layers * layer + ends
