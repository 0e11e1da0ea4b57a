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


Kept = dict[tuple[int, ...], list[tuple[torch.Tensor, torch.Tensor]]]
"""Keys and values, (1, kv_heads, tokens, head_dim) each, by the tokens that they are of, layer by layer."""


@dataclass(frozen=True)
class _Piece:
    """Tokens that follow one another, after those that they share with others."""

    own: slice
    after: tuple[int, ...]
    place: slice | None
    """Where those before are; None where their keys and values are kept from an earlier pass."""


class PackedOps(TorchOps):
    """`Ops` on all tokens of some groups in one row, (1, tokens): the shared tokens of the first group, the rests of
    its rows, then the next group. Only attention tells the rows apart."""

    def __init__(self, spec: DecoderSpec, weights: Weights, groups: Sequence[Group], kept: Kept | None = None) -> None:
        """With `kept`, the keys and values of shared tokens are put there, and taken from there in later passes."""
        self._kept, known = kept, set(kept or ())
        self.rests: list[slice] = []
        """Where the rest of each row is, in the order of the groups."""
        pieces: list[_Piece] = []
        ids: list[int] = []
        for group in groups:
            place = None
            if group.shared not in known:
                place = slice(len(ids), len(ids) + len(group.shared))
                ids += group.shared
                if group.shared:
                    pieces.append(_Piece(place, (), slice(0, 0)))
            for rest in group.rests:
                self.rests.append(slice(len(ids), len(ids) + len(rest)))
                pieces.append(_Piece(self.rests[-1], group.shared, place))
                ids += rest
        super().__init__(spec, weights, np.array([ids], np.int64))
        self._pieces = pieces
        at = np.concatenate([np.arange(p.own.stop - p.own.start) + len(p.after) for p in pieces])
        tables = (rotary_tables(rotary, int(at.max()) + 1) for rotary in spec.rotaries)
        self._rope_tables = [tuple(torch.from_numpy(np.tile(table[at], 2)) for table in pair) for pair in tables]

    def attention(self, layer: int, parts: tuple[torch.Tensor, ...]) -> torch.Tensor:
        rotary, window = self.spec.layer_rotary[layer], self.spec.layer_windows[layer]
        query, key, value = (self._split_heads(x) for x in parts)
        if rotary is not None:
            query, key = self._rotate(query, rotary), self._rotate(key, rotary)
        out = torch.empty_like(query)
        for piece in self._pieces:
            before = self._before(layer, piece, key, value)
            q = query[:, :, piece.own]
            k, v = (torch.cat([old, x[:, :, piece.own]], 2) for old, x in zip(before, (key, value), strict=True))
            places = torch.arange(k.shape[2])
            back = places[len(piece.after) :, None] - places
            mask = (back >= 0) & (back < (window or len(places)))
            if self.spec.attention_softcap is not None:
                out[:, :, piece.own] = self._capped(q, k, v, mask)
            else:
                out[:, :, piece.own] = F.scaled_dot_product_attention(
                    q, k, v, mask, enable_gqa=True, scale=self.spec.score_scale
                )
        return out.transpose(1, 2).flatten(2)

    def _before(
        self, layer: int, piece: _Piece, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of what is before a piece."""
        if piece.place is None:
            assert self._kept is not None
            return self._kept[piece.after][layer]
        before = key[:, :, piece.place], value[:, :, piece.place]
        if self._kept is not None and piece.after and len(self._kept.setdefault(piece.after, [])) == layer:
            self._kept[piece.after].append((before[0].clone(), before[1].clone()))
        return before
