"""Whether a model's head is its embedding: what the config says, checked against what the file stores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgesw.checkpoint.reader import TensorReader

_ROWS = 1024
"""Rows compared at a time, and rows sampled of two quantized tables."""
_BLOCK = 32
_TOLERANCE = 2.0
# Bits of precision by the type's name: of the codes where that is a number in it, else of the significand.
_FLOAT_BITS = {"F64": 53, "F32": 24, "F16": 11, "BF16": 8}


@dataclass(frozen=True)
class Head:
    """Where a model's head is."""

    tied: bool
    """Whether it is the embedding."""
    table: str | None = None
    """The tensor that is both, by its name in the file; None for the embedding's own."""
    spare: str | None = None
    """The tensor that is not needed."""
    note: str | None = None
    """What a user should know about it."""


def head_of(
    reader: TensorReader,
    embedding: str | None,
    head: str | None,
    tied: bool,
    same: Callable[[TensorReader, str, str], bool],
) -> Head:
    """Decides between the tensors `embedding` and `head` of a file (None for one that it lacks); `tied` is what the
    config says, and `same` is `same_values` or `same_table`. As in transformers, a stored head that differs from the
    embedding is used although the config calls them tied, and either one does for a tied pair. Two that are the same
    are stored once."""
    if embedding is None or head is None:
        return Head(tied, table=head if tied else None)
    if same(reader, embedding, head):
        keep, spare = sorted((embedding, head), key=lambda name: -(bits_of(reader, name) or 0))
        kinds = reader.type_name(keep), reader.type_name(spare)
        twice = f"'{keep}' ({kinds[0]}) and '{spare}' ({kinds[1]}) are one table: the former is used for both"
        return Head(True, keep, spare, None if kinds[0] == kinds[1] else twice)
    differs = f"'{head}' is stored and differs from the embedding: it is used, as by transformers, although "
    return Head(False, note=f"{differs}'tie_word_embeddings' is true" if tied else None)


def same_values(reader: TensorReader, one: str, other: str) -> bool:
    """Whether two tensors of a file hold the same values. Stops at the first rows that differ."""
    shape = reader.shape(one)
    if reader.shape(other) != shape:
        return False
    parts = (slice(at, at + _ROWS) for at in range(0, shape[0], _ROWS))
    return all(np.array_equal(reader.read(one, part), reader.read(other, part), equal_nan=True) for part in parts)


def same_table(reader: TensorReader, one: str, other: str) -> bool:
    """Whether two tensors are one table, perhaps in two precisions: sampled rows differ by no more than their rounding,
    and two of the same type not at all.

    Rounding to b bits in blocks of 32 has a step of at least 2 max|x| / 2^b and an error of step / sqrt(12) in the root
    mean square; twice what both roundings add up to is allowed, as block formats round their scales too. Tables of
    random values differ by ten times as much and more.
    """
    shape = reader.shape(one)
    if reader.shape(other) != shape or len(shape) != 2:
        return False
    if reader.type_name(one) == reader.type_name(other) or None in (bits_of(reader, one), bits_of(reader, other)):
        return same_values(reader, one, other)
    rows = np.unique(np.linspace(0, shape[0] - 1, min(_ROWS, shape[0])).astype(np.int64))
    tables = {name: reader.read(name, rows) for name in (one, other)}
    expected = np.zeros(len(rows))
    for name, values in tables.items():
        bits = bits_of(reader, name)
        assert bits is not None
        padded = np.pad(np.abs(values), ((0, 0), (0, -shape[1] % _BLOCK)))
        steps = 2 * padded.reshape(len(rows), -1, _BLOCK).max(-1) / 2.0**bits
        expected += (steps**2).mean(1) / 12
    found = ((tables[one] - tables[other]) ** 2).mean(1)
    return bool((found <= _TOLERANCE**2 * expected).all())


def bits_of(reader: TensorReader, name: str) -> int | None:
    """The bits of precision of a tensor's values, by its type's name: 4 for Q4_K, 11 for F16; None if unknown."""
    kind = reader.type_name(name)
    digits = next((character for character in kind if character.isdigit()), None)
    return _FLOAT_BITS.get(kind) or (int(digits) if digits and kind.lstrip("I")[:1] in "QT" else None)
