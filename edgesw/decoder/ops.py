"""The words a decoder layer is written in. An interpreter gives them a meaning: runs them, or writes a graph."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np

Tensor = TypeVar("Tensor")


class Ops(Protocol[Tensor]):
    """One interpreter of a decoder. Tensors are opaque to the decoder; names are those of `DecoderSpec`."""

    def embedding(self, name: str) -> Tensor:
        """Rows of the matrix `name` for the token ids at hand: (..., tokens, hidden)."""

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Root mean square norm over the last axis, times the vector `name`."""

    def linear(self, x: Tensor, name: str) -> Tensor:
        """x @ W.T for the matrix `name` of (rows, columns): (..., columns) -> (..., rows)."""

    def attention(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Rotary position embedding, the key/value cache where there is one, and causal attention:
        (..., heads * head_dim), (..., kv_heads * head_dim) twice -> (..., heads * head_dim)."""

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up."""

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        """a + b."""


class Weights(Protocol):
    """Where an interpreter that runs gets its float weights from: a checkpoint, or a compressed decoder."""

    def tensor(self, name: str) -> np.ndarray:
        """The whole tensor, float32."""

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Only these rows of a matrix, float32 (len(rows), columns)."""
