"""Place: where a checkpoint file stores a canonical tensor (its name there, its rows, their order)."""

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
    """Where a checkpoint file stores a canonical tensor."""

    name: str
    order: Callable[[], np.ndarray] | None = None
    """Returns the file's row number of each canonical row; None where they are the same. Called only once a tensor of
    that shape is known to be present: a config may claim any size."""
    stored_rows: int | None = None
    """The rows of the file's tensor, where it holds several matrices."""
    shift: float = 0.0
    """Added to the values in the file."""


def find_places(
    family: Family, spec: DecoderSpec, place_of: Callable[[DecoderSpec, str, Stored], Place]
) -> dict[str, Place]:
    """The place of every tensor of this decoder, by canonical name. `place_of` is `hf_place` or `gguf_place`."""
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
    """Where a Hugging Face checkpoint stores a tensor."""
    return replace(_fused_place(spec, canonical, stored.hf, stored.fused), shift=stored.hf_shift)


def gguf_place(spec: DecoderSpec, canonical: str, stored: Stored) -> Place:
    """Where a GGUF file stores a tensor."""
    if not stored.gguf_interleaved:
        return _fused_place(spec, canonical, stored.gguf, stored.fused)
    shape = spec.shape(canonical)
    assert shape is not None
    return Place(stored.gguf, partial(_interleaved_order, shape[0], spec.head_dim))


def _fused_place(spec: DecoderSpec, canonical: str, name: str, fused: tuple[str, ...]) -> Place:
    """The rows of one matrix within the tensor in which the file stores several."""
    if not fused:
        return Place(name)
    starts = dict(zip(fused, accumulate((spec.matrix_shape(part)[0] for part in fused), initial=0), strict=False))
    start, rows = starts[TensorName.parse(canonical).kind], spec.matrix_shape(canonical)[0]
    return Place(name, partial(np.arange, start, start + rows), sum(spec.matrix_shape(part)[0] for part in fused))


def _halved(spec: DecoderSpec, canonical: str, place: Place) -> Place:
    """Reorders the rows of q and k where only a head's first channels are rotated: each half of the head gets half of
    the rotated channels, then half of the others.

    All interpreters rotate pairs that lie half a head apart, and attention is the same in any order that queries and
    keys share.
    """
    unrotated = spec.rotaries[0].still
    if not unrotated or not TensorName.parse(canonical).kind.startswith(("q_proj", "k_proj")):
        return place
    shape = spec.shape(canonical)
    assert shape is not None
    order = place.order or partial(np.arange, shape[0])

    def halved() -> np.ndarray:
        heads = order().reshape(-1, spec.head_dim)
        first, second, rest = np.split(heads, [spec.head_dim // 2 - unrotated, spec.head_dim - 2 * unrotated], axis=1)
        return np.hstack([first, rest[:, :unrotated], second, rest[:, unrotated:]]).ravel()

    return replace(place, order=halved)


def _interleaved_order(rows: int, head_dim: int) -> np.ndarray:
    """Row numbers that undo llama.cpp's permutation: row 2i + half of a head there is row i + half * head_dim / 2."""
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).ravel()
