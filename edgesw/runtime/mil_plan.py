"""Plan: a function of an .mlpackage, ready to run: typed steps, constants, and the lifetime of each value."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgesw.errors import PackageError, UnsupportedError
from edgesw.files.header_bounds import MOST_AXES
from edgesw.files.json_file import read_json
from edgesw.files.safe_path import inside
from edgesw.runtime.coreml_shapes import array_shapes
from edgesw.runtime.mil_constexpr import CONSTEXPR_OPS, Argument, Constexpr
from edgesw.runtime.mil_ops import OPS
from edgesw.runtime.mil_weights import STRING, Constant, DType, WeightFile, known_dtype, read_constant
from edgesw.system.log_filter import coremltools

Dims = tuple[int | None, ...]
MOST_STATE = 2**36
"""Numbers that all states of a program may hold: caches of 80 layers, 8 heads of 128 channels and 400,000 tokens."""
READ, WRITE = "read_state", "write_state"
"""The state ops in a file, where a builder's `coreml_update_state` is a write and, if its result is used, a read."""

_STATE_OPS: dict[str, tuple[str, ...]] = {READ: ("input",), WRITE: ("input", "data")}


@dataclass(frozen=True)
class Value:
    """A named tensor of the program; None in `shape` is a dimension known only when the program runs."""

    name: str
    dtype: DType
    shape: Dims


@dataclass(frozen=True)
class Input(Value):
    """An input and the shapes it may have: any in `ranges` (lowest, highest or None), or one of `choices`.

    An optional input has a `default`: its shape when it is left out, and the number that fills it.
    """

    ranges: tuple[tuple[int, int | None], ...] = ()
    choices: tuple[tuple[int, ...], ...] = ()
    default: tuple[tuple[int, ...], float] | None = None


@dataclass(frozen=True)
class Step:
    """One op. `frees` are the values that are not read after it; `in_place`: a slice_update may overwrite its `x`."""

    op: str
    name: str
    args: dict[str, str | list[str]]
    outputs: tuple[Value, ...]
    frees: tuple[str, ...] = ()
    in_place: bool = False

    def reads(self) -> Iterator[str]:
        for arg in self.args.values():
            yield from [arg] if isinstance(arg, str) else arg

    def __str__(self) -> str:
        return f"op '{self.op}' ('{self.name}')"


@dataclass
class Plan:
    """One function of a program, ready to run."""

    inputs: dict[str, Input] = field(default_factory=dict)
    states: dict[str, Value] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Argument] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)


def load_plan(package: Path, function: str, half: bool) -> Plan:
    """Reads `function` of an .mlpackage; `half` rounds the float16 weights that constexpr ops compute.

    Raises PackageError for a damaged package, UnsupportedError for an op, dtype or parameter that is not known.
    """
    model = model_path(package)
    spec = read_spec(model)
    if spec.WhichOneof("Type") != "mlProgram":
        raise UnsupportedError(f"{package}: not an ML program but '{spec.WhichOneof('Type')}', which is not supported.")
    functions = spec.mlProgram.functions
    if function not in functions:
        raise PackageError(f"{package}: no function '{function}'; it has {', '.join(sorted(functions)) or 'none'}.")
    description = next((d for d in spec.description.functions if d.name == function), spec.description)
    plan = _Loader(model.parent, half).load(functions[function], {d.name: d for d in description.input})
    plan.metadata = dict(spec.description.metadata.userDefined)
    plan.steps = _with_lifetimes(plan.steps, set(plan.outputs))
    return plan


def model_path(package: Path) -> Path:
    manifest = package / "Manifest.json"
    if not manifest.is_file():
        raise PackageError(f"{package}: not an .mlpackage: there is no Manifest.json in it.")
    try:
        content = read_json(manifest)
        name = content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
        path = inside(package, f"Data/{name}")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise PackageError(f"{manifest}: damaged: it names no model ({error}). Write the package again.") from error
    if path is None or not path.is_file():
        missing = "the model that Manifest.json names is missing or outside the package. Write the package again."
        raise PackageError(f"{package / 'Data'}/{name}: {missing}")
    return path


def read_spec(model: Path) -> Any:
    """The proto of a model.mlmodel, without the weights. PackageError where it is damaged."""
    proto = coremltools().proto
    from google.protobuf.message import DecodeError

    spec = proto.Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
    except DecodeError as error:
        raise PackageError(f"{model}: damaged: not a Core ML model.") from error
    return spec


class _Loader:
    def __init__(self, folder: Path, half: bool) -> None:
        self._folder = folder
        self._half = half
        self._files: dict[str, WeightFile] = {}
        self._blobs: dict[tuple[Any, ...], Constant] = {}
        self._decoded: dict[tuple[Any, ...], Constexpr] = {}
        self._plan = Plan()
        self._known: set[str] = set()

    def load(self, function: Any, descriptions: dict[str, Any]) -> Plan:
        plan, elements = self._plan, 0
        for entry in function.inputs:
            self._define(entry.name)
            if entry.type.WhichOneof("type") == "stateType":
                state = _value(entry.name, entry.type.stateType.wrappedType, f"state '{entry.name}'")
                elements += math.prod(n or 0 for n in state.shape)
                if elements > MOST_STATE or any((n or 0) < 0 for n in state.shape):
                    raise PackageError(f"{self._folder}: state '{entry.name}' is larger than that of any decoder.")
                plan.states[entry.name] = state
            else:
                value = _value(entry.name, entry.type, f"input '{entry.name}'")
                plan.inputs[entry.name] = _with_range(value, descriptions.get(entry.name))
        if function.opset not in function.block_specializations:
            raise PackageError(f"{self._folder}: the program has no block for its opset '{function.opset}'.")
        block = function.block_specializations[function.opset]
        unknown = sorted({o.type for o in block.operations} - set(OPS) - CONSTEXPR_OPS - {"const", *_STATE_OPS})
        if unknown:
            raise UnsupportedError(f"{self._folder}: the program uses ops not supported here: {', '.join(unknown)}.")
        for op in block.operations:
            self._add(op)
        plan.outputs = tuple(block.outputs)
        for name in plan.outputs:
            self._check_known(name, "the program's outputs")
        return plan

    def _add(self, op: Any) -> None:
        where = f"op '{op.type}' ('{operation_name(op)}')"
        if op.blocks or (op.type != "const" and set(op.attributes) - {"name"}):
            raise UnsupportedError(f"{where}: blocks and attributes are not supported (was it written before iOS 18?).")
        if not op.outputs and op.type != WRITE:
            raise PackageError(f"{where}: has no output.")
        if op.type == "const":
            self._constant(op.outputs[0].name, op.attributes["val"], where)
        elif op.type in CONSTEXPR_OPS:
            self._constexpr(op, where)
        else:
            self._step(op, where)

    def _constant(self, name: str, proto_value: Any, where: str) -> None:
        self._define(name)
        self._plan.constants[name] = self._read(proto_value, where)

    def _read(self, proto_value: Any, where: str) -> Constant:
        constant = read_constant(proto_value, self._weights, where)
        if proto_value.WhichOneof("value") == "blobFileValue":  # one object per blob: a tied matrix is decoded once
            blob = proto_value.blobFileValue
            constant = self._blobs.setdefault((blob.fileName, blob.offset, constant.dtype, constant.shape), constant)
        return constant

    def _constexpr(self, op: Any, where: str) -> None:
        args: dict[str, Argument] = {}
        for param, argument in op.inputs.items():
            if len(argument.arguments) != 1:
                raise PackageError(f"{where}: its parameter {param} is not one value.")
            binding = argument.arguments[0]
            if binding.WhichOneof("binding") == "value":
                args[param] = self._read(binding.value, where)
            elif binding.name in self._plan.constants:
                args[param] = self._plan.constants[binding.name]
            else:
                raise PackageError(f"{where}: its parameter {param} is '{binding.name}', which is not a constant.")
        value = _value(op.outputs[0].name, op.outputs[0].type, where)
        shape = tuple(n or 0 for n in value.shape)
        self._define(value.name)
        constexpr = Constexpr(op.type, args, value.dtype, shape, where, self._half)
        same = (op.type, *sorted((param, id(arg)) for param, arg in args.items()))
        self._plan.constants[value.name] = self._decoded.setdefault(same, constexpr)

    def _step(self, op: Any, where: str) -> None:
        args: dict[str, str | list[str]] = {}
        for param, argument in op.inputs.items():
            names: list[str] = []
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "value":
                    names.append(f"{operation_name(op)}.{param}.{len(names)}")
                    self._constant(names[-1], binding.value, where)
                else:
                    self._check_known(binding.name, where)
                    names.append(binding.name)
            args[param] = names[0] if len(names) == 1 else names
        _check_parameters(op.type, args, where)
        step = Step(op.type, operation_name(op), args, tuple(_value(o.name, o.type, where) for o in op.outputs))
        states = [name for name in step.reads() if name in self._plan.states]
        if states != ([args["input"]] if op.type in _STATE_OPS else []):
            raise PackageError(f"{where}: states are for {READ} and {WRITE}, and for nothing else.")
        for value in step.outputs:
            self._define(value.name)
        self._plan.steps.append(step)

    def _weights(self, name: str) -> WeightFile:
        prefix = "@model_path/"
        path = inside(self._folder, name.removeprefix(prefix))
        if not name.startswith(prefix) or path is None:
            raise PackageError(f"{self._folder}: the weight file '{name}' lies outside the package.")
        if name not in self._files:
            self._files[name] = WeightFile(path)
        return self._files[name]

    def _define(self, name: str) -> None:
        if name in self._known:
            raise PackageError(f"{self._folder}: the program defines '{name}' twice.")
        self._known.add(name)

    def _check_known(self, name: str, where: str) -> None:
        if name not in self._known:
            raise PackageError(f"{where}: uses '{name}', which nothing before it defines.")


def operation_name(op: Any) -> str:
    names = op.attributes["name"].immediateValue.tensor.strings.values if "name" in op.attributes else []
    return str(names[0]) if names else (op.outputs[0].name if op.outputs else "unnamed")


def _value(name: str, proto_type: Any, where: str) -> Value:
    kind = proto_type.WhichOneof("type")
    if kind != "tensorType":
        raise UnsupportedError(f"{where}: a value of kind '{kind}' is not supported.")
    tensor = proto_type.tensorType
    if tensor.dataType == STRING:
        raise UnsupportedError(f"{where}: the dtype STRING is not supported outside of constants.")
    if len(tensor.dimensions) > MOST_AXES:
        raise PackageError(f"{where}: a value has more than {MOST_AXES} axes.")
    sizes = (int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions)
    return Value(name, known_dtype(tensor.dataType, where), tuple(sizes))


def _with_range(value: Value, description: Any) -> Input:
    if description is None or description.type.WhichOneof("Type") != "multiArrayType":
        return Input(value.name, value.dtype, value.shape)
    array = description.type.multiArrayType
    shapes, default = array_shapes(array), None
    if description.type.isOptional:
        number = array.WhichOneof("defaultOptionalValue")
        default = shapes.default, float(getattr(array, number)) if number else 0.0
    return Input(value.name, value.dtype, value.shape, shapes.ranges, shapes.choices, default)


def _check_parameters(op: str, args: dict[str, Any], where: str) -> None:
    known: Callable[[str], bool]
    if op in _STATE_OPS:
        required, known = set(_STATE_OPS[op]), _STATE_OPS[op].__contains__
    else:
        parameters = inspect.signature(OPS[op]).parameters
        required, known = {n for n, p in parameters.items() if p.default is p.empty}, parameters.__contains__
    for param in args:
        if not known(param):
            raise UnsupportedError(f"{where}: its parameter '{param}' is not supported.")
    if required - set(args):
        raise PackageError(f"{where}: its parameter '{min(required - set(args))}' is missing.")


def _with_lifetimes(steps: list[Step], outputs: set[str]) -> list[Step]:
    """The steps with the values that each frees, and with the slice updates that may write into their state itself."""
    last: dict[str, int] = {}
    for number, step in enumerate(steps):
        for name in (*step.reads(), *(value.name for value in step.outputs)):
            last[name] = number
    frees: list[list[str]] = [[] for _ in steps]
    for name, number in last.items():
        if name not in outputs:
            frees[number].append(name)
    made_by = {value.name: step for step in steps for value in step.outputs}
    followings: list[Step | None] = [None] * len(steps)  # for a slice update of a state, the next use of that state
    uses: dict[str, Step] = {}
    for number, step in reversed(list(enumerate(steps))):
        if step.op == "slice_update" and (source := made_by.get(str(step.args["x"]))) is not None:
            followings[number] = uses.get(str(source.args.get("input")))
        if step.op in _STATE_OPS:
            uses[str(step.args["input"])] = step
    return [
        replace(step, frees=tuple(frees[n]), in_place=_may_write_in_place(step, followings[n], made_by, frees[n]))
        if step.op == "slice_update"
        else replace(step, frees=tuple(frees[n]))
        for n, step in enumerate(steps)
    ]


def _may_write_in_place(step: Step, following: Step | None, made_by: dict[str, Step], dies: list[str]) -> bool:
    """Whether `x` is read from a state and nowhere else, and the result is written to that state next, by
    `following`."""
    x = step.args["x"]
    source = made_by.get(str(x))
    if source is None or source.op != READ or x not in dies or list(step.reads()).count(str(x)) != 1:
        return False
    return following is not None and following.op == WRITE and following.args["data"] == step.outputs[0].name
