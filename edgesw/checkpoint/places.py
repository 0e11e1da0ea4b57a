"""Where a checkpoint's file has each canonical tensor: under which name, in which rows, in what order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate

import numpy as np

from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.families.family import Family, Stored


@dataclass(frozen=True)
class Place:
    """Where one canonical tensor is in the file."""

    name: str
    order: Callable[[], np.ndarray] | None = None
    """Gives the row numbers in the file, by canonical row; None where they are the same. Not made before a tensor of
    that shape is known to be there: a config may claim any."""
    stored_rows: int | None = None
    """Rows of the file's tensor, where it has more than ours."""
    less: float = 0.0
    """The file has the values less this."""


def find_places(
    family: Family, spec: DecoderSpec, place_of: Callable[[DecoderSpec, str, Stored], Place]
) -> dict[str, Place]:
    """Canonical name -> place, of every tensor that this decoder has. `place_of` is `hf_place` or `gguf_place`."""
    places = {}
    for canonical, stored in family.tensors.items():
        first = canonical.format(layer=0)  # alike in all layers
        if spec.shape(first) is None:
            continue
        place = _halved(spec, first, place_of(spec, first, stored))
        for layer in range(spec.layers if "{layer}" in canonical else 1):
            places[canonical.format(layer=layer)] = replace(place, name=place.name.format(layer=layer))
    return places


def hf_place(spec: DecoderSpec, canonical: str, stored: Stored) -> Place:
    """Where a checkpoint of Hugging Face has a tensor."""
    return replace(_fused_place(spec, canonical, stored.hf, stored.fused), less=stored.hf_less)


def gguf_place(spec: DecoderSpec, canonical: str, stored: Stored) -> Place:
    """Where a GGUF file has a tensor."""
    if not stored.gguf_interleaved:
        return _fused_place(spec, canonical, stored.gguf, stored.fused)
    shape = spec.shape(canonical)
    assert shape is not None
    return Place(stored.gguf, partial(_interleaved_order, shape[0], spec.head_dim))


def _fused_place(spec: DecoderSpec, canonical: str, name: str, fused: tuple[str, ...]) -> Place:
    """Our rows among those of the matrices that the file keeps as one."""
    if not fused:
        return Place(name)
    starts = dict(zip(fused, accumulate((spec.matrix_shape(part)[0] for part in fused), initial=0), strict=False))
    start, rows = starts[TensorName.parse(canonical).kind], spec.matrix_shape(canonical)[0]
    return Place(name, partial(np.arange, start, start + rows), sum(spec.matrix_shape(part)[0] for part in fused))


def _halved(spec: DecoderSpec, canonical: str, place: Place) -> Place:
    """Where only the first channels of a head are rotated: half of them, half of the others, and again.

    Attention is the same in any order that queries and keys share; all interpreters rotate pairs half a head apart.
    """
    still = spec.rotaries[0].still
    if not still or not TensorName.parse(canonical).kind.startswith(("q_proj", "k_proj")):
        return place
    shape = spec.shape(canonical)
    assert shape is not None
    order = place.order or partial(np.arange, shape[0])

    def halved() -> np.ndarray:
        heads = order().reshape(-1, spec.head_dim)
        first, second, rest = np.split(heads, [spec.head_dim // 2 - still, spec.head_dim - 2 * still], axis=1)
        return np.hstack([first, rest[:, :still], second, rest[:, still:]]).ravel()

    return replace(place, order=halved)


def _interleaved_order(rows: int, head_dim: int) -> np.ndarray:
    """Row numbers that undo llama.cpp's permutation: its row 2i + half of a head is row i + half * head_dim / 2."""
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).ravel()
