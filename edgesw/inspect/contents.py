"""What is found in a model file: its weights, the bytes they take, its operators, inputs, outputs and states."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Shape = tuple[int, ...]
Place = tuple[str, int | str]
"""The file that holds something, and where; what the program itself holds has a file of no name. Equal ones are one."""

# What bytes are for.
CODES, PALETTES, SCALES, ZERO_POINTS = "codes", "palettes", "scales", "zero points"
MASKS, HELD_OUT, PLAIN, OTHER, REST = "masks", "held out", "uncompressed", "other constants", "program and padding"


@dataclass(frozen=True)
class Tensor:
    """A constant as its header has it, without its values."""

    name: str
    type: str
    bits: int
    """Of one element."""
    shape: Shape
    place: Place
    bytes: int

    @property
    def is_float(self) -> bool:
        return "float" in self.type

    @property
    def is_weight(self) -> bool:
        """Whether it is worth a row when nothing is known of it but this: values, or a matrix' codes. Wide integers
        count or point at something."""
        narrow = 0 < self.bits <= 8 and self.type != "bool" and len(self.shape) > 1
        return math.prod(self.shape) > 1 and (narrow or self.is_float)


@dataclass(frozen=True)
class Piece:
    """Bytes that a weight takes, and what for."""

    kind: str
    place: Place
    bytes: int


def piece(kind: str, tensor: Tensor) -> Piece:
    return Piece(kind, tensor.place, tensor.bytes)


@dataclass(frozen=True)
class Weight:
    """A matrix, or another constant of a layer. `shape`: (rows, columns), rows being output channels, where what uses a
    matrix tells which these are."""

    name: str
    shape: Shape
    scheme: str
    pieces: tuple[Piece, ...]
    compressed: bool = False
    held_out_columns: int = 0
    held_out_scalars: int = 0

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def stored_bytes(self) -> int:
        """Codes and what decodes them, without what is held out."""
        return sum(each.bytes for each in self.pieces if each.kind != HELD_OUT)

    @property
    def correction_bytes(self) -> int:
        return sum(each.bytes for each in self.pieces if each.kind == HELD_OUT)

    @property
    def bits(self) -> float:
        """Stored bits per weight."""
        return 8 * self.stored_bytes / max(1, self.elements)

    def holding_out(self, tensors: Iterable[Tensor], columns: int, scalars: int) -> Weight:
        """With what is held out of it, and the tensors that put it back."""
        more = tuple(piece(HELD_OUT, tensor) for tensor in tensors)
        return replace(self, pieces=self.pieces + more, held_out_columns=columns, held_out_scalars=scalars)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "scheme": self.scheme,
            "compressed": self.compressed,
            "bits_per_weight": self.bits,
            "stored_bytes": self.stored_bytes,
            "held_out_columns": self.held_out_columns,
            "held_out_scalars": self.held_out_scalars,
            "correction_bytes": self.correction_bytes,
        }


@dataclass(frozen=True)
class Port:
    """An input, an output or a state. A length that is not fixed is a name, a range or "?"."""

    name: str
    kind: str
    type: str
    shape: tuple[int | str, ...]
    optional: bool = False
    function: str = ""
    """Of a program with several functions."""

    def to_dict(self) -> dict[str, Any]:
        told = {"name": self.name, "kind": self.kind, "type": self.type, "shape": list(self.shape)}
        return {**told, "optional": self.optional, **({"function": self.function} if self.function else {})}


@dataclass(frozen=True)
class Found:
    """One model file or .mlpackage."""

    path: Path
    format: str
    versions: dict[str, str]
    weights: tuple[Weight, ...]
    others: tuple[Piece, ...]
    """Constants that are no weights."""
    operators: dict[str, int]
    ports: tuple[Port, ...]
    disk_bytes: int
    """All its files."""

    @property
    def bytes_by_kind(self) -> dict[str, int]:
        """What its files hold, each byte once; they come to `disk_bytes`."""
        kinds = dict.fromkeys((CODES, PALETTES, SCALES, ZERO_POINTS, MASKS, HELD_OUT, PLAIN, OTHER), 0)
        seen = set()
        for each in (*(part for weight in self.weights for part in weight.pieces), *self.others):
            if each.place not in seen:
                seen.add(each.place)
                kinds[each.kind] += each.bytes
        kinds[REST] = self.disk_bytes - sum(kinds.values())
        return {kind: size for kind, size in kinds.items() if size}

    @property
    def compressed(self) -> tuple[Weight, ...]:
        return tuple(weight for weight in self.weights if weight.compressed)

    @property
    def bits_per_weight(self) -> float | None:
        """Of all compressed matrices together; None where there are none."""
        return self._bits(sum(weight.stored_bytes for weight in self.compressed))

    @property
    def bits_with_held_out(self) -> float | None:
        """With what puts back what is held out of them."""
        return self._bits(sum(weight.stored_bytes + weight.correction_bytes for weight in self.compressed))

    def _bits(self, size: int) -> float | None:
        elements = sum(weight.elements for weight in self.compressed)
        return 8 * size / elements if elements else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": str(self.path),
            "format": self.format,
            "versions": self.versions,
            "disk_bytes": self.disk_bytes,
            "bytes_by_kind": self.bytes_by_kind,
            "bits_per_weight": self.bits_per_weight,
            "bits_per_weight_with_held_out": self.bits_with_held_out,
            "weights": [weight.to_dict() for weight in self.weights],
            "operators": self.operators,
            "interface": [port.to_dict() for port in self.ports],
        }


def once(weights: Iterable[Weight]) -> tuple[Weight, ...]:
    """Each weight once, however often the program reads the same bytes: a tied head, functions over one file. Small
    parts may be in the program itself, once for each function."""
    kept: dict[frozenset[Place], Weight] = {}
    for weight in weights:
        places = frozenset(each.place for each in weight.pieces)
        kept.setdefault(frozenset(place for place in places if place[0]) or places, weight)
    return tuple(kept.values())
