"""MilProgram: runs the ML program of an .mlpackage on any machine, so that packages are checked where they are written.

It has the interface of `coremltools.models.MLModel`, which it replaces where there is no Core ML.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgesw.errors import PackageError, UsageError, first_line, near_names
from edgesw.runtime.advice import advised
from edgesw.runtime.mil_constexpr import Constexpr
from edgesw.runtime.mil_moves import slice_update_in_place
from edgesw.runtime.mil_ops import EXACT, OPS
from edgesw.runtime.mil_plan import READ, WRITE, Dims, Input, Plan, Step, Value, load_plan

Array = np.ndarray[Any, Any]
Environment = dict[str, torch.Tensor]

ROUNDED_AT_ONCE = 1 << 15  # values, so that the copy stays in the processor's cache


class MilState:
    """The state buffers of one conversation, with the shapes in `MilProgram.states`; zeros at first."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)
        # A buffer belongs to its state alone: `MilProgram` copies a value into it unless it made the value for it.
        try:
            self.buffers: Environment = {
                name: torch.zeros([n or 0 for n in v.shape], dtype=v.dtype.storage) for name, v in values.items()
            }
        except RuntimeError as error:  # torch's name for too little memory
            raise PackageError(f"the program's states take more memory than there is ({first_line(error)}).") from error

    def read_state(self, name: str) -> Array:
        """A copy of the state, in its declared dtype."""
        self._check(name)
        return _to_numpy(self.buffers[name], self._values[name])

    def write_state(self, name: str, value: Array) -> None:
        """Replaces the state with a copy of `value`, which must have its shape."""
        self._check(name)
        if value.shape != tuple(self.buffers[name].shape):
            raise UsageError(f"state '{name}' has shape {tuple(self.buffers[name].shape)}, got {value.shape}.")
        array = np.array(value, self._values[name].dtype.array)
        self.buffers[name] = torch.from_numpy(array).to(self.buffers[name].dtype, copy=True)

    def _check(self, name: str) -> None:
        if name not in self.buffers:
            raise UsageError(f"there is no state '{name}'.{near_names(name, self.buffers)}")


class MilProgram:
    """An ML program, loaded from `package` (an .mlpackage folder) and interpreted.

    `precision` is "float16" or "float32". With "float32" every float is a float32, and float16 constants are taken
    exactly. With "float16" the result of every op that the program declares float16 is rounded to the float16 grid,
    beyond 65504 to infinity; values declared float32 stay float32. Inside one op (matmul, softmax, reductions,
    attention) sums are carried in float32 and the op's result is rounded, where hardware may round sooner.

    Loading raises PackageError for a damaged package, and UnsupportedError for a program with an unknown op, dtype or
    parameter, which it names; nothing has run then.
    """

    def __init__(
        self, package: Path, *, precision: str = "float16", function: str = "main", keep_weights: bool = True
    ) -> None:
        """Without `keep_weights` a matrix is decoded whenever an op reads it, and none stays in memory."""
        if precision not in ("float16", "float32"):
            raise UsageError(f"precision must be 'float16' or 'float32', not '{precision}'.")
        self._half, self._keep_weights = precision == "float16", keep_weights
        with advised():
            self._plan: Plan = load_plan(Path(package), function, self._half)
        made_by = {value.name: step for step in self._plan.steps for value in step.outputs}
        self._values = {value.name: value for step in self._plan.steps for value in step.outputs} | self._plan.inputs
        self._fresh = {name for name, step in made_by.items() if step.op == "slice_update"}

    @property
    def inputs(self) -> dict[str, Dims]:
        """The shape of each input, without the states; None where it is flexible."""
        return {name: value.shape for name, value in self._plan.inputs.items()}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the program's order."""
        return self._plan.outputs

    @property
    def states(self) -> dict[str, tuple[int, ...]]:
        """The shape of each state."""
        return {name: tuple(n or 0 for n in value.shape) for name, value in self._plan.states.items()}

    @property
    def metadata(self) -> dict[str, str]:
        """The user-defined metadata of the package."""
        return dict(self._plan.metadata)

    def make_state(self) -> MilState:
        """A new state, all zeros, independent of every other."""
        return MilState(self._plan.states)

    def predict(self, data: Mapping[str, Array], state: MilState | None = None) -> dict[str, Array]:
        """Runs the program on `data` (input name -> array of the declared dtype and shape), updating `state`.

        Returns output name -> array of the declared dtype. Raises UsageError for inputs that do not fit.
        """
        values = self._check_inputs(data)
        if state is None and self._plan.states:
            names = ", ".join(self._plan.states)
            raise UsageError(f"the program keeps a state ({names}): pass `state=program.make_state()` to predict.")
        buffers = {} if state is None else state.buffers
        if {name: tuple(b.shape) for name, b in buffers.items()} != self.states:
            raise UsageError("the state was made by another program: pass what this program's make_state() returned.")
        with torch.no_grad(), advised():
            for step in self._plan.steps:
                try:
                    self._run(step, values, buffers)
                except (RuntimeError, IndexError, ValueError, TypeError) as error:
                    raise PackageError(f"{step} cannot be computed: {first_line(error)}.") from error
                for name in step.frees:
                    values.pop(name, None)
                for name in () if self._keep_weights else step.reads():
                    if isinstance(constant := self._plan.constants.get(name), Constexpr):
                        constant.forget()
            return {name: self._output(name, values) for name in self._plan.outputs}

    def _check_inputs(self, data: Mapping[str, Array]) -> Environment:
        wanted = self._plan.inputs
        for name in data:
            if name not in wanted:
                raise UsageError(f"there is no input '{name}'.{near_names(name, wanted)} Inputs: {', '.join(wanted)}.")
        values = {}
        for name, declared in wanted.items():
            array = data.get(name)
            if array is None:
                if declared.default is None:
                    raise UsageError(f"the input '{name}' is missing.")
                shape, number = declared.default
                array = np.full(shape, number, declared.dtype.array)
            if not isinstance(array, np.ndarray) or array.dtype != declared.dtype.array:
                got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                wants = np.dtype(declared.dtype.array)
                raise UsageError(f"the input '{name}' must be a numpy array of {wants}, got {got}.")
            _check_shape(declared, array.shape)
            widened = array.astype(np.int32) if array.dtype == np.uint16 else np.array(array, order="C")
            values[name] = torch.from_numpy(widened).to(declared.dtype.storage)
        return values

    def _run(self, step: Step, values: Environment, buffers: Environment) -> None:
        if step.op == READ:
            values[step.outputs[0].name] = buffers[str(step.args["input"])]
            return
        if step.op == WRITE:
            name, source = str(step.args["input"]), str(step.args["data"])
            tensor = self._argument(source, values)
            buffers[name] = tensor if source in self._fresh else tensor.clone()
            return
        args = {param: self._argument(arg, values) for param, arg in step.args.items()}
        function = OPS[step.op]
        if step.in_place and self._only_holder(str(step.args["x"]), values, buffers):
            function = slice_update_in_place
        results = function(**args)
        if not isinstance(results, (tuple, list)):
            results = (results,)
        if len(results) != len(step.outputs):
            raise PackageError(f"{step} gives {len(results)} results where the program wants {len(step.outputs)}.")
        for value, result in zip(step.outputs, results, strict=True):
            values[value.name] = self._settle(step, value, result, args)

    def _argument(self, arg: str | list[str], values: Environment) -> Any:
        if isinstance(arg, list):
            return [self._argument(name, values) for name in arg]
        found = values.get(arg)
        return self._plan.constants[arg].value if found is None else found

    def _only_holder(self, name: str, values: Environment, buffers: Environment) -> bool:
        """Whether no other live value and no second state shares the memory of the state value `name`.

        The plan knows which values live on, but only torch knows which of them are views: a reshape may copy or not.
        """
        memory = values[name].untyped_storage().data_ptr()
        shared = (v.untyped_storage().data_ptr() == memory for other, v in values.items() if other != name)
        return not any(shared) and sum(b.untyped_storage().data_ptr() == memory for b in buffers.values()) <= 1

    def _settle(self, step: Step, value: Value, result: torch.Tensor, args: dict[str, Any]) -> torch.Tensor:
        """The result, checked against its declared type, in the type that ops compute with, rounded to its grid."""
        if result.is_floating_point() != value.dtype.is_float or not _fits(value.shape, tuple(result.shape)):
            got = f"{result.dtype} {tuple(result.shape)}"
            raise PackageError(f"{step} gives {got} where the program declares {value.dtype.name} {value.shape}.")
        if self._half and value.dtype.name == "fp16" and step.op not in EXACT:
            return _rounded(result, args)
        return result.to(value.dtype.storage)

    def _output(self, name: str, values: Environment) -> Array:
        if name in self._values:
            return _to_numpy(self._argument(name, values), self._values[name])
        constant = self._plan.constants[name]
        if constant.dtype is None or isinstance(constant.value, str):
            raise PackageError(f"the output '{name}' is a string.")
        return _to_numpy(constant.value, Value(name, constant.dtype, constant.shape))


def _rounded(result: torch.Tensor, args: dict[str, Any]) -> torch.Tensor:
    """The nearest float16 values, as float32: in the same memory, a slice at a time, where that holds no argument. Two
    new tensors for each result took half the time of a run, most of it spent on asking the system for memory."""
    read = [each for arg in args.values() for each in (arg if isinstance(arg, list) else [arg])]
    memory = result.untyped_storage().data_ptr()
    shared = any(isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() == memory for each in read)
    if shared or not result.is_contiguous():
        return result.half().float()
    for part in result.view(-1).split(ROUNDED_AT_ONCE):
        part.copy_(part.half())
    return result


def _to_numpy(tensor: torch.Tensor, value: Value) -> Array:
    if value.dtype.array is np.float16 and tensor.dtype == torch.float32:  # numpy takes ten times as long
        return tensor.half().numpy()
    return np.array(tensor.numpy(), dtype=value.dtype.array)


def _fits(declared: Dims, shape: tuple[int, ...]) -> bool:
    return len(declared) == len(shape) and all(d is None or d == n for d, n in zip(declared, shape, strict=True))


def _check_shape(declared: Input, shape: tuple[int, ...]) -> None:
    fits = _fits(declared.shape, shape)
    allowed = str(declared.shape).replace("None", "?")
    if declared.choices:
        fits, allowed = fits and shape in declared.choices, " or ".join(map(str, declared.choices))
    elif declared.ranges:
        fits = fits and len(shape) == len(declared.ranges)
        for n, (low, high) in zip(shape, declared.ranges, strict=False):
            fits = fits and low <= n and (high is None or n <= high)
        allowed = "(" + ", ".join(f"{a}" if a == b else f"{a}..{b or ''}" for a, b in declared.ranges) + ")"
    if not fits:
        raise UsageError(f"the input '{declared.name}' must have shape {allowed}, got {shape}.")
