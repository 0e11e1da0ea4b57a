"""Runs Core ML packages: in Core ML on a Mac, elsewhere in edgesw's MIL interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from edgesw.errors import PackageError, first_line
from edgesw.formats.coreml_layout import COUNTER, COUNTER_BASE
from edgesw.runtime.compute_plan import UNITS
from edgesw.runtime.coreml_interface import Interface, packages, read_interface
from edgesw.runtime.mil import MilProgram
from edgesw.runtime.packaged_decoder import PackagedDecoder, check_room, last_logits
from edgesw.system.log_filter import coremltools

Arrays = Mapping[str, np.ndarray]


class Engine(Protocol):
    """The part of coremltools.models.MLModel that is used here."""

    def make_state(self) -> Any: ...

    def predict(self, data: Arrays, state: Any) -> dict[str, np.ndarray]: ...


class ChunkedEngine:
    """Packages of some layers each, run in order: the residual stream goes from one to the next. Each package gets the
    data that its `inputs` name."""

    def __init__(self, engines: Sequence[Engine], inputs: Sequence[frozenset[str]]) -> None:
        self._engines, self._inputs = engines, inputs

    def make_state(self) -> list[Any]:
        return [engine.make_state() for engine in self._engines]

    def predict(self, data: Arrays, state: list[Any]) -> dict[str, np.ndarray]:
        results: dict[str, np.ndarray] = {}
        for engine, names, part in zip(self._engines, self._inputs, state, strict=True):
            known = {**data, "hiddenStates": results["nextHiddenStates"]} if results else data
            results = engine.predict({name: value for name, value in known.items() if name in names}, part)
            if engine is not self._engines[-1] and "nextHiddenStates" not in results:
                raise PackageError("a part of the Core ML model has no output 'nextHiddenStates': convert again.")
        return results


class CoreMLDecoder:
    """A `PackagedDecoder` for a program that takes any number of tokens and counts them itself."""

    def __init__(self, engine: Engine, context: int, runtime: str, rolling: bool = False) -> None:
        """`rolling`: whether some layers hold the last tokens only."""
        self._engine, self.context, self.runtime, self._rolling = engine, context, runtime, rolling
        self.reset()

    def reset(self) -> None:
        self._tokens, self._state = 0, self._engine.make_state()

    def step(self, ids: np.ndarray) -> np.ndarray:
        kv_length = check_room(self._tokens, ids, self.context)
        # The program makes its own causal mask; this mask's length keeps attention from reading slots still empty.
        mask = np.zeros((1, 1, 1, kv_length), np.float16)
        data: dict[str, np.ndarray] = {"inputIds": np.asarray(ids, np.int32)[None], "causalMask": mask}
        logits = _logits(self._engine.predict(data, self._state))
        self._tokens = kv_length
        return _as_float32(logits[0])

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        return last_logits(self, ids)

    def rewind(self, tokens: int) -> bool:
        if tokens >= self._tokens:
            return True
        states = self._state if isinstance(self._state, list) else [self._state]
        if self._rolling or not all(hasattr(state, "write_state") for state in states):
            return False
        for state in states:  # later slots are masked until they are overwritten
            state.write_state(COUNTER, np.array(divmod(tokens, COUNTER_BASE), np.float16))
        self._tokens = tokens
        return True


class FixedDecoder:
    """A `PackagedDecoder` for functions of fixed lengths, which return the logits of one token per call."""

    one_by_one = True
    """Whether `step` computes each token in a call of its own."""

    def __init__(self, engines: Mapping[int, Engine], context: int, runtime: str, rolling: bool = False) -> None:
        """`engines` by the number of tokens that each takes. They belong to one package, so they share a state.
        `rolling`: whether some layers hold the last tokens only."""
        self._engines, self.context, self.runtime = dict(sorted(engines.items())), context, runtime
        self._rolling = rolling
        self.reset()

    def reset(self) -> None:
        self._tokens, self._state = 0, next(iter(self._engines.values())).make_state()

    def step(self, ids: np.ndarray) -> np.ndarray:
        check_room(self._tokens, ids, self.context)
        return np.stack([self._run(ids[at : at + 1], min(self._engines)) for at in range(len(ids))])

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """As few calls as possible: the longest function, then the shortest that holds the rest, padded."""
        check_room(self._tokens, ids, self.context)
        logits = np.empty(0)
        while len(ids):
            length = next((n for n in self._engines if n >= len(ids)), max(self._engines))
            logits, ids = self._run(ids[:length], length), ids[length:]
        return logits

    def rewind(self, tokens: int) -> bool:
        if self._rolling:
            return False
        self._tokens = min(tokens, self._tokens)  # later slots are masked until they are overwritten
        return True

    def _run(self, ids: np.ndarray, length: int) -> np.ndarray:
        """The logits of the last of `ids`, float32 (vocabulary,)."""
        padded = np.zeros((1, length), np.int32)
        padded[0, : len(ids)] = ids
        position, last = (np.array([n], np.int32) for n in (self._tokens, len(ids) - 1))
        data = {"inputIds": padded, "position": position, "last": last}
        logits = _logits(self._engines[length].predict(data, self._state))
        self._tokens += len(ids)
        return _as_float32(logits[0, -1])


def _logits(results: Mapping[str, np.ndarray]) -> np.ndarray:
    """The program's logits, (1, tokens, vocabulary)."""
    if "logits" not in results:
        raise PackageError(f"the Core ML model has no output 'logits', only {', '.join(results)}: convert again.")
    logits = results["logits"]
    if logits.ndim != 3 or not all(logits.shape):
        raise PackageError(f"the Core ML model gives logits of shape {logits.shape}: convert again.")
    return logits


def _as_float32(values: np.ndarray) -> np.ndarray:
    widened: np.ndarray = torch.from_numpy(values).float().numpy()  # numpy takes ten times as long for float16
    return widened


def open_coreml(
    path: Path,
    context: int,
    precision: str = "float16",
    compute: str | None = None,
    corrected: bool = True,
    keep_weights: bool = True,
) -> PackagedDecoder:
    """Opens the package in Core ML on a Mac, on the units `compute`, or None for those that it is made for, and
    elsewhere in the interpreter, which computes in `precision` (float16 or float32). Not `corrected`: the functions
    without what is held out, which only a package with an ablation has. Without `keep_weights` the interpreter decodes
    weights again at each call."""
    parts = [(package, read_interface(package)) for package in packages(path)]
    runtime = "Core ML" if sys.platform == "darwin" else f"MIL interpreter ({precision})"

    def engine(function: str) -> Engine:
        if lacking := [package for package, interface in parts if function not in interface.inputs]:
            raise PackageError(f"{lacking[0]}: function '{function}' is missing: convert again.")
        engines = [
            _engine(package, interface, function, precision, compute, keep_weights) for package, interface in parts
        ]
        return ChunkedEngine(engines, [interface.inputs[function] for _, interface in parts])

    functions = [each for each in parts[0][1].functions if each.corrected == corrected]
    if not functions:
        raise PackageError(f"{path}: no function {'with' if corrected else 'without'} what is held out: convert again.")
    rolling = any(interface.slots < context for _, interface in parts)
    if not any(function.lengths for function in functions):
        return CoreMLDecoder(engine(functions[0].name), context, runtime, rolling)
    engines = {function.name: engine(function.name) for function in functions}
    by_length = {length: engines[function.name] for function in functions for length in function.lengths}
    return FixedDecoder(by_length, context, runtime, rolling)


def _engine(
    package: Path, interface: Interface, function: str, precision: str, compute: str | None, keep_weights: bool
) -> Engine:
    if sys.platform != "darwin":
        return MilProgram(package, precision=precision, function=function, keep_weights=keep_weights)
    ct = coremltools()
    units = ct.ComputeUnit[UNITS[compute or interface.compute]]
    name = {"function_name": function} if len(interface.functions) > 1 else {}
    try:
        model: Engine = ct.models.MLModel(str(package), compute_units=units, **name)
    except Exception as error:  # coremltools raises RuntimeError, and others for a damaged package
        raise PackageError(f"{package}: Core ML cannot load it ({first_line(error)}): convert again.") from error
    return model
