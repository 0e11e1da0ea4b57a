"""The interface of a Core ML package that edgesw wrote: its functions, their inputs, the units it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesw.errors import PackageError
from edgesw.formats.coreml_layout import COMPUTE_KEY, UNITS, ProgramFunction, chunk_names
from edgesw.runtime.advice import advised
from edgesw.runtime.coreml_shapes import array_shapes
from edgesw.runtime.mil_plan import model_path, read_spec

MOST_TOKENS = 2**16
"""That a function may take at once."""


@dataclass(frozen=True)
class Interface:
    """The interface of one .mlpackage."""

    functions: tuple[ProgramFunction, ...]
    inputs: dict[str, frozenset[str]]
    """The names of each function's inputs, without states."""
    compute: str
    slots: int = 0
    """The fewest tokens that a state holds: less than the context where some layers have a rolling cache."""


def packages(path: Path) -> list[Path]:
    """The .mlpackage itself, or those in a folder of chunks, in order. PackageError where one is missing."""
    if path.suffix == ".mlpackage":
        return [path]
    found = set(path.glob("*-of-*.mlpackage"))
    wanted = [path / name for name in chunk_names(len(found))]
    if not found or set(wanted) != found:
        names = ", ".join(sorted(each.stem for each in found)) or "none"
        raise PackageError(f"{path}: chunks are missing, there are {names}: convert again.")
    return wanted


def read_interface(package: Path) -> Interface:
    """Reads the model's description. PackageError where it is damaged."""
    with advised():
        description = read_spec(model_path(package)).description
    functions = {each.name: each for each in description.functions} or {"main": description}
    compute = description.metadata.userDefined.get(COMPUTE_KEY, "all")
    if compute not in UNITS:
        raise PackageError(f"{package}: '{compute}' are no compute units: convert again.")
    return Interface(
        tuple(ProgramFunction(name, _lengths(function)) for name, function in functions.items()),
        {name: frozenset(each.name for each in function.input) for name, function in functions.items()},
        compute,
        min(
            (slots for function in functions.values() for state in function.state if (slots := _slots(state))),
            default=0,
        ),
    )


def _slots(state: Any) -> int:
    """How many tokens a cache (layers, [1,] kv_heads, slots, head_dim) holds; 0 for another state."""
    shape = state.type.stateType.arrayType.shape
    return int(shape[-2]) if len(shape) > 3 else 0


def _lengths(function: Any) -> tuple[int, ...]:
    if not function.input:
        raise PackageError("the Core ML model is damaged: a function has no inputs. Write the package again.")
    first = array_shapes(function.input[0].type.multiArrayType)
    axis = 1 if len(first.default) < 4 else 3  # tokens in (1, q), (1, q, channels) and (1, channels, 1, q)
    shapes = first.choices or (first.default,)
    if first.ranges or any(len(shape) <= axis for shape in shapes):  # the latter: not a program of edgesw
        return ()
    lengths = tuple(shape[axis] for shape in shapes)
    if not all(0 < length <= MOST_TOKENS for length in lengths):
        raise PackageError(f"the Core ML model is damaged: a function takes {lengths} tokens. Write the package again.")
    return lengths
