"""Ops: the operations that the decoder is written in. Interpreters implement them: they run them or write a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np

from edgesw.decoder.spec import DecoderSpec

Tensor = TypeVar("Tensor")


class Ops(Protocol[Tensor]):
    """One interpreter of a decoder. Tensors are opaque to the decoder; names are those of `DecoderSpec`."""

    spec: DecoderSpec

    def embedding(self, name: str) -> Tensor:
        """Rows of the matrix `name` for the token ids, times the embedding's scale: (..., tokens, hidden)."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Norm over the last axis: x / rms(x) times the vector `name`, or a layer norm without weights."""

    def head_norm(self, x: Tensor, name: str) -> Tensor:
        """`norm` over each head's channels: (..., n * head_dim) -> the same, by the vector `name` of (head_dim,)."""

    def linear(self, x: Tensor, name: str) -> Tensor:
        """x @ W.T for the matrix `name` of (rows, columns), plus its bias: (..., columns) -> (..., rows)."""

    def linears(self, x: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """`linear` for a group of matrices that read the same input: query, key and value, or gate and up.

        Returns one tensor for each matrix. An interpreter may return a single tensor instead, all outputs side by side
        along the last axis, where the decoder hands the group to `attention` or `gated` as it is.
        """

    def attention(self, layer: int, parts: tuple[Tensor, ...]) -> Tensor:
        """The layer's position embedding, the key/value cache where there is one, and causal attention over the layer's
        window. `parts` are query (..., heads * head_dim), key and value (..., kv_heads * head_dim), or what `linears`
        returned for them. Returns (..., heads * head_dim)."""

    def gated(self, parts: tuple[Tensor, ...]) -> Tensor:
        """activation(gate) * up. `parts` are gate and up, or what `linears` returned for them."""

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b."""

    def clip(self, x: Tensor, bound: float) -> Tensor:
        """x, no larger than `bound` in magnitude."""

    def softcap(self, x: Tensor, cap: float) -> Tensor:
        """cap * tanh(x / cap)."""


class Weights(Protocol):
    """The float weights of an interpreter that runs the decoder: a checkpoint's, or a compressed decoder's."""

    def tensor(self, name: str) -> np.ndarray:
        """The whole tensor, float32."""

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """These rows of a matrix, float32 (len(rows), columns)."""
