"""ConvOps: the decoder in the layout that suits the Neural Engine, with products as 1x1 convolutions."""

from __future__ import annotations

from typing import Any

from edgesw.compress.matrix import ColumnCorrection
from edgesw.emit.mil_ops import MilOps

Var = Any


class ConvOps(MilOps):
    """`Ops` on MIL variables (1, channels, 1, q): "Deploying Transformers on the Apple Neural Engine" (Apple Machine
    Learning Research, 2022) gives the layout, and convolutions instead of linear layers. Matrices have two axes more.
    """

    channels, tokens = 1, 3

    def linear(self, x: Var, name: str) -> Var:
        y = super().linear(x, name)
        if not name.endswith("lm_head"):
            return y
        return self.mb.reshape(x=self.mb.transpose(x=y, perm=[0, 2, 3, 1]), shape=[1, -1, self.spec.vocab_size])

    def head_norm(self, x: Var, name: str) -> Var:
        split = self.mb.reshape(x=x, shape=[1, -1, self.spec.head_dim, x.shape[3]])
        return self.mb.reshape(x=self._norm(split, name, 2), shape=[1, x.shape[1], 1, -1])

    def _product(self, x: Var, weight: Var, **bias: Var) -> Var:
        return self.mb.conv(x=x, weight=weight, **bias)

    def _columns(self, x: Var, held_out: ColumnCorrection, name: str) -> Var:
        """As in `MilOps`, with slices: a gather would leave the Neural Engine."""
        mb = self.mb
        parts = [
            mb.slice_by_index(x=x, begin=[0, column, 0, 0], end=[1, column + 1, 1, x.shape[3]])
            for column in map(int, held_out.columns)
        ]
        inputs = parts[0] if len(parts) == 1 else mb.concat(values=parts, axis=1)
        return mb.conv(x=inputs, weight=mb.const(val=held_out.delta.T[:, :, None, None].copy(), name=name))

    def _attend(self, query: Var, keys: Var, values: Var, mask: Var) -> Var:
        return self._attend_in_steps(query, keys, values, mask)

    def _split_heads(self, x: Var, heads: int) -> Var:
        """(1, heads * head_dim, 1, q) -> (1, heads, q, head_dim)."""
        split = self.mb.reshape(x=x, shape=[1, heads, self.spec.head_dim, -1])
        return self.mb.transpose(x=split, perm=[0, 1, 3, 2])

    def _join_heads(self, x: Var) -> Var:
        """(1, heads, q, head_dim) -> (1, heads * head_dim, 1, q)."""
        flat = self.mb.transpose(x=x, perm=[0, 1, 3, 2])
        return self.mb.reshape(x=flat, shape=[1, self.spec.heads * self.spec.head_dim, 1, -1])

    def _rows(self, rows: Var) -> Var:
        """Rows of the embedding from (1, q, channels, 1, 1): the matrix has the axes of a kernel."""
        moved = self.mb.transpose(x=rows, perm=[0, 2, 3, 4, 1])
        return self.mb.reshape(x=moved, shape=[1, self.spec.hidden_size, 1, -1])
