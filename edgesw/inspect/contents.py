"""ModelContents: a model file's weights, the bytes they take, its operators, inputs, outputs and states."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgesw.formats.correction_names import CorrectionNames

Shape = tuple[int, ...]
Place = tuple[str, int | str]
"""A file and the position in it; the file's name is empty for what the program itself holds. Tensors in the same place
are one."""

# What bytes are used for.
CODES, PALETTES, SCALES, ZERO_POINTS = "codes", "palettes", "scales", "zero points"
MASKS, HELD_OUT, PLAIN, OTHER, REST = "masks", "held out", "uncompressed", "other constants", "program and padding"


@dataclass(frozen=True)
class Tensor:
    """A constant as its header describes it, without its values."""

    name: str
    type: str
    bits: int
    """The width of an element."""
    shape: Shape
    place: Place
    bytes: int

    @property
    def is_float(self) -> bool:
        return "float" in self.type

    @property
    def is_weight(self) -> bool:
        """Whether it is a weight, as far as its header shows: values, or a matrix's codes. Wide integers are counts or
        indices."""
        narrow = 0 < self.bits <= 8 and self.type != "bool" and len(self.shape) > 1
        return math.prod(self.shape) > 1 and (narrow or self.is_float)


@dataclass(frozen=True)
class Piece:
    """Bytes of a weight, and what they are used for."""

    kind: str
    place: Place
    bytes: int


def piece(kind: str, tensor: Tensor) -> Piece:
    """All bytes of a tensor, used for this kind."""
    return Piece(kind, tensor.place, tensor.bytes)


@dataclass(frozen=True)
class Weight:
    """A matrix, or another constant of a layer. `shape` is (rows, columns), rows being output channels, where the
    operators that use the matrix show which those are."""

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
        """Bytes of codes and of what decodes them, without what is held out."""
        return sum(each.bytes for each in self.pieces if each.kind != HELD_OUT)

    @property
    def correction_bytes(self) -> int:
        return sum(each.bytes for each in self.pieces if each.kind == HELD_OUT)

    @property
    def bits(self) -> float:
        """Stored bits per weight."""
        return 8 * self.stored_bytes / max(1, self.elements)

    def with_held_out(self, tensors: Mapping[str, Tensor], names: CorrectionNames) -> Weight:
        """The weight of a model that edgesw wrote, with what is held out of it: the corrections are those of `tensors`
        that are named for the weight."""
        own = {end: tensors[self.name + end] for end in names.in_file() if self.name + end in tensors}
        deltas, scalars = own.get(names.column_deltas + names.narrow), own.get(names.scalar_columns)
        return replace(
            self,
            pieces=self.pieces + tuple(piece(HELD_OUT, tensor) for tensor in own.values()),
            held_out_columns=0 if deltas is None else math.prod(deltas.shape) // self.shape[0],
            held_out_scalars=0 if scalars is None else scalars.shape[0],
        )

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
    """Whose it is, in a program with several functions."""

    def to_dict(self) -> dict[str, Any]:
        values = {"name": self.name, "kind": self.kind, "type": self.type, "shape": list(self.shape)}
        return {**values, "optional": self.optional, **({"function": self.function} if self.function else {})}


@dataclass(frozen=True)
class ModelContents:
    """The contents of one model file or .mlpackage."""

    path: Path
    format: str
    versions: dict[str, str]
    weights: tuple[Weight, ...]
    others: tuple[Piece, ...]
    """Constants that are not weights."""
    operators: dict[str, int]
    ports: tuple[Port, ...]
    disk_bytes: int
    """Size of all its files."""

    @property
    def bytes_by_kind(self) -> dict[str, int]:
        """What the bytes of its files are used for, each byte once; they total `disk_bytes`."""
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
        """Stored bits per weight of all compressed matrices; None if there are none."""
        return self._bits(sum(weight.stored_bytes for weight in self.compressed))

    @property
    def bits_with_held_out(self) -> float | None:
        """The same with their corrections."""
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
    """The weights, each once even where the program reads the same bytes several times: a tied head, functions that
    share a file. Small parts may be in the program itself, once for each function."""
    distinct: dict[frozenset[Place], Weight] = {}
    for weight in weights:
        places = frozenset(each.place for each in weight.pieces)
        distinct.setdefault(frozenset(place for place in places if place[0]) or places, weight)
    return tuple(distinct.values())
