"""The weights of a MIL program, by the constexpr ops that decode them. Sizes are those in the blobs' metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgesw.errors import UnreadableError
from edgesw.files.header_bounds import bounded_shape
from edgesw.formats.correction_names import COREML, canonical_name
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


class ProgramWeights:
    """Collects the weights of a program, function by function."""

    def __init__(self, folder: Path) -> None:
        """`folder` holds the program and, below it, its weights."""
        self._folder = folder
        self._files: dict[str, WeightFile] = {}
        self._weights: list[Weight] = []
        self._plain: list[Tensor] = []

    def add(self, function: str, operations: Iterator[Any]) -> None:
        """Adds a function's operations, including those of blocks within operations."""
        known: dict[str, Tensor | Decoded] = {}
        decoded_by_others: set[str] = set()  # inputs of constexpr ops
        results: list[tuple[set[str], Weight]] = []
        for op in operations:
            if not op.outputs and (op.type == "const" or op.type.startswith("constexpr_")):
                raise UnreadableError(
                    f"{self._folder}: damaged: op '{op.type}' ('{operation_name(op)}') has no output. Get or write it "
                    "again."
                )
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
                    decoded_by_others.add(used)
                elif not used and isinstance(found, Tensor):
                    self._plain.append(found)
            if op.type.startswith("constexpr_"):
                names, each = {output.name for output in op.outputs}, self._decoded(op, args)
                known.update(dict.fromkeys(names, each))
                results.append(
                    (names, Weight(op.outputs[-1].name, each.shape, each.words, each.pieces, compressed=True))
                )
        self._weights += [weight for names, weight in results if not names & decoded_by_others]
        self._plain += [each for each in known.values() if isinstance(each, Tensor)]

    def _decoded(self, op: Any, args: dict[str, Tensor | Decoded]) -> Decoded:
        try:
            return decode(op, args)
        except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
            what = f"op '{op.type}' ('{operation_name(op)}') lacks a part or does not fit: {error}"
            raise UnreadableError(f"{self._folder}: damaged: {what}. Get or write it again.") from error

    def contents(self, by_edgesw: bool) -> tuple[tuple[Weight, ...], tuple[Piece, ...]]:
        """The weights, and the other constants. `by_edgesw`: edgesw wrote the program, so that names can be relied
        on."""
        tensors = {tensor.name: tensor for tensor in self._plain}
        weights = once(self._weights)
        if by_edgesw:
            weights = tuple(weight.with_held_out(tensors, COREML) for weight in weights)
        taken = {part.place for weight in weights for part in weight.pieces}
        # Constants in the program itself are small and counted with it.
        rest = [each for each in self._plain if each.place not in taken and each.place[0]]
        plain = once(Weight(t.name, t.shape, t.type, (piece(PLAIN, t),)) for t in rest if t.is_weight)
        if by_edgesw:
            weights, plain = (
                tuple(replace(weight, name=canonical_name(weight.name)) for weight in group)
                for group in (weights, plain)
            )
        return (*weights, *plain), tuple(piece(OTHER, tensor) for tensor in rest if not tensor.is_weight)

    def _read(self, value: Any, name: str, function: str) -> Tensor | None:
        """The header of a constant; None for strings and for what is not a tensor."""
        if value.type.WhichOneof("type") != "tensorType" or value.type.tensorType.dataType == STRING:
            return None
        stored = value.WhichOneof("value") == "blobFileValue"
        if not stored and value.type.tensorType.dataType not in DTYPES:  # such as the shapes of iOS 16, of uint32
            return None
        dtype = known_dtype(value.type.tensorType.dataType, f"{self._folder}: '{name}'")
        shape, count = bounded_shape((each.constant.size for each in value.type.tensorType.dimensions), name)
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
    """Each parameter with its value, or with the name of the value that it refers to. Compressed constants of iOS 16
    have attributes for parameters."""
    for name, value in op.attributes.items():
        if name != "name":
            yield name, value, ""
    for name, argument in op.inputs.items():
        for binding in argument.arguments:
            yield name, binding.value, binding.name
