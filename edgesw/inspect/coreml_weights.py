"""The weights of a MIL program, by the constexpr ops that decode them. Sizes are those that blobs say of themselves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgesw.errors import UnreadableError
from edgesw.inspect.contents import (
    OTHER,
    PLAIN,
    Piece,
    Tensor,
    Weight,
    once,
    piece,
)
from edgesw.inspect.coreml_constexpr import Decoded, decode
from edgesw.runtime.mil_plan import operation_name
from edgesw.runtime.mil_weights import DTYPES, STRING, WeightFile, known_dtype

_TYPES = {"fp16": "float16", "fp32": "float32"}
# What our own writer puts beside a matrix for what is held out of it, by the ends of their names.
_COLUMNS, _SCALARS = "_correction", "_scalar_columns"
_HELD_OUT = (_COLUMNS, "_kept", _SCALARS, "_scalar_rows", "_scalar_deltas")


class ProgramWeights:
    """Collects the weights of a program, function by function."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the program and, below it, its weights."""
        self._folder = folder
        self._files: dict[str, WeightFile] = {}
        self._weights: list[Weight] = []
        self._plain: list[Tensor] = []

    def add(self, function: str, operations: Iterator[Any]) -> None:
        """A function's operations, those of blocks within them included."""
        known: dict[str, Tensor | Decoded] = {}
        taken: set[str] = set()  # by constexpr ops
        ends: list[tuple[set[str], Weight]] = []
        for op in operations:
            if op.type == "const":
                name = op.outputs[0].name
                if (tensor := self._read(op.attributes["val"], name, function)) is not None:
                    known[name] = tensor
                continue
            args: dict[str, Tensor | Decoded] = {}
            for parameter, value, used in _arguments(op):
                of = f"{operation_name(op)}.{parameter}"
                found = known.get(used) if used else self._read(value, of, function)
                if found is not None:
                    args[parameter] = found
                if op.type.startswith("constexpr_"):
                    taken.add(used)
                elif not used and isinstance(found, Tensor):
                    self._plain.append(found)
            if op.type.startswith("constexpr_"):
                names, each = {output.name for output in op.outputs}, self._decoded(op, args)
                known.update(dict.fromkeys(names, each))
                ends.append((names, Weight(op.outputs[-1].name, each.shape, each.words, each.pieces, compressed=True)))
        self._weights += [weight for names, weight in ends if not names & taken]
        self._plain += [each for each in known.values() if isinstance(each, Tensor)]

    def _decoded(self, op: Any, args: dict[str, Tensor | Decoded]) -> Decoded:
        try:
            return decode(op, args)
        except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
            what = f"op '{op.type}' ('{operation_name(op)}') lacks a part or does not fit: {error}"
            raise UnreadableError(f"{self._folder}: damaged: {what}. Get or write it again.") from error

    def found(self, ours: bool) -> tuple[tuple[Weight, ...], tuple[Piece, ...]]:
        """The weights, and what other constants there are. `ours`: names are those that edgesw gives."""
        tensors = {tensor.name: tensor for tensor in self._plain}
        weights = once(self._weights)
        if ours:
            weights = tuple(_with_held_out(weight, tensors) for weight in weights)
        taken = {part.place for weight in weights for part in weight.pieces}
        # What is in the program itself and small is counted with it.
        rest = [each for each in self._plain if each.place not in taken and each.place[0]]
        plain = once(Weight(t.name, t.shape, t.type, (piece(PLAIN, t),)) for t in rest if t.is_weight)
        if ours:
            weights, plain = (
                tuple(replace(weight, name=_canonical(weight.name)) for weight in group) for group in (weights, plain)
            )
        return (*weights, *plain), tuple(piece(OTHER, tensor) for tensor in rest if not tensor.is_weight)

    def _read(self, value: Any, name: str, function: str) -> Tensor | None:
        """The header of a constant; None for strings and for what is no tensor."""
        if value.type.WhichOneof("type") != "tensorType" or value.type.tensorType.dataType == STRING:
            return None
        stored = value.WhichOneof("value") == "blobFileValue"
        if not stored and value.type.tensorType.dataType not in DTYPES:  # such as the shapes of iOS 16, of uint32
            return None
        dtype = known_dtype(value.type.tensorType.dataType, f"{self._folder}: '{name}'")
        shape = tuple(int(each.constant.size) for each in value.type.tensorType.dimensions)
        count = math.prod(shape)
        place: tuple[str, int | str] = ("", f"{function}/{name}")
        if stored:
            blob = value.blobFileValue
            self._file(blob.fileName).blob(blob.offset, dtype, count)
            place = (blob.fileName, blob.offset)
        size = (count * dtype.bits + 7) // 8
        return Tensor(name, _TYPES.get(dtype.name, dtype.name), dtype.bits, shape, place, size)

    def _file(self, name: str) -> WeightFile:
        if name not in self._files:
            prefix = "@model_path/"
            path = self._folder / name.removeprefix(prefix)
            if not name.startswith(prefix) or not path.resolve().is_relative_to(self._folder.resolve()):
                raise UnreadableError(
                    f"{self._folder}: the weight file '{name}' lies outside the package: take another."
                )
            self._files[name] = WeightFile(path)
        return self._files[name]


def _arguments(op: Any) -> Iterator[tuple[str, Any, str]]:
    """Each parameter with its value or, where it has one, the name of what gives it. Compressed constants of
    iOS 16 have theirs as attributes."""
    for name, value in op.attributes.items():
        if name != "name":
            yield name, value, ""
    for name, argument in op.inputs.items():
        for binding in argument.arguments:
            yield name, binding.value, binding.name


def _with_held_out(weight: Weight, tensors: Mapping[str, Tensor]) -> Weight:
    """Of our own writer: with what is held out of it."""
    beside = {end: tensors[weight.name + end] for end in _HELD_OUT if weight.name + end in tensors}
    columns = math.prod(beside[_COLUMNS].shape) // weight.shape[0] if _COLUMNS in beside else 0
    scalars = beside[_SCALARS].shape[0] if _SCALARS in beside else 0
    return weight.holding_out(beside.values(), columns, scalars)


def _canonical(name: str) -> str:
    """As the checkpoint's names are: MIL has no dots."""
    return re.sub(r"^layers_(\d+)_", r"layers.\1.", name)
