"""PackedOps: `TorchOps` on rows of different lengths without padding, of which some begin with the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from edgesw.decoder.ops import Weights
from edgesw.decoder.rotary import rotary_tables
from edgesw.decoder.spec import DecoderSpec
from edgesw.runtime.torch import TorchOps


@dataclass(frozen=True)
class Group:
    """Rows of token ids that begin with the same tokens, which are computed once."""

    shared: tuple[int, ...]
    """What all rows begin with; may be empty."""
    rests: tuple[tuple[int, ...], ...]
    """What follows in each row: at least one token."""

    @property
    def tokens(self) -> int:
        return len(self.shared) + sum(map(len, self.rests))


@dataclass(frozen=True)
class _Piece:
    """Tokens that follow one another, and what they see besides themselves."""

    own: slice
    shared: slice

    @property
    def first(self) -> int:
        """The position of the first token in its row."""
        return self.shared.stop - self.shared.start


class PackedOps(TorchOps):
    """`Ops` on all tokens of some groups in one row, (1, tokens): the shared tokens of the first group, the rests of
    its rows, then the next group. Only attention tells the rows apart."""

    def __init__(self, spec: DecoderSpec, weights: Weights, groups: Sequence[Group]) -> None:
        pieces: list[_Piece] = []
        self.rests: list[slice] = []
        """Where the rest of each row is, in the order of the groups."""
        ids: list[int] = []
        for group in groups:
            shared = slice(len(ids), len(ids) + len(group.shared))
            if group.shared:
                pieces.append(_Piece(shared, slice(0, 0)))
                ids += group.shared
            for rest in group.rests:
                own = slice(len(ids), len(ids) + len(rest))
                pieces.append(_Piece(own, shared))
                self.rests.append(own)
                ids += rest
        super().__init__(spec, weights, np.array([ids], np.int64))
        self._pieces = pieces
        at = np.concatenate([np.arange(p.own.stop - p.own.start) + p.first for p in pieces])
        tables = (rotary_tables(rotary, int(at.max()) + 1) for rotary in spec.rotaries)
        self._rope_tables = [tuple(torch.from_numpy(np.tile(table[at], 2)) for table in pair) for pair in tables]

    def attention(self, layer: int, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        rotary, window = self.spec.layer_rotary[layer], self.spec.layer_windows[layer]
        query, key, value = (self._split_heads(x) for x in parts)
        if rotary is not None:
            query, key = self._rotate(query, rotary), self._rotate(key, rotary)
        out = torch.empty_like(query)
        for piece in self._pieces:
            q = query[:, :, piece.own]
            k, v = (torch.cat([x[:, :, piece.shared], x[:, :, piece.own]], 2) for x in (key, value))
            places = torch.arange(k.shape[2])
            back = places[piece.first :, None] - places
            mask = (back >= 0) & (back < (window or len(places)))
            if self.spec.attention_softcap is not None:
                out[:, :, piece.own] = self._capped(q, k, v, mask)
            else:
                out[:, :, piece.own] = F.scaled_dot_product_attention(
                    q, k, v, mask, enable_gqa=True, scale=self.spec.score_scale
                )
        return out.transpose(1, 2).flatten(2)
