"""Runs Core ML packages: in Core ML on a Mac, anywhere else in our MIL interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgesw.errors import PackageError, first_line
from edgesw.formats.coreml_layout import UNCORRECTED
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
    """Packages of some layers each, one after the other: what one makes of the residual stream goes to the next. Each
    is given those of the data that are its `inputs`."""

    def __init__(self, engines: Sequence[Engine], inputs: Sequence[frozenset[str]]) -> None:
        self._engines, self._inputs = engines, inputs

    def make_state(self) -> list[Any]:
        return [engine.make_state() for engine in self._engines]

    def predict(self, data: Arrays, state: list[Any]) -> dict[str, np.ndarray]:
        results: dict[str, np.ndarray] = {}
        for engine, names, part in zip(self._engines, self._inputs, state, strict=True):
            given = {**data, "hiddenStates": results["nextHiddenStates"]} if results else data
            results = engine.predict({name: value for name, value in given.items() if name in names}, part)
        return results


class CoreMLDecoder:
    """A `PackagedDecoder` over a program that takes any number of tokens and counts them itself."""

    def __init__(self, engine: Engine, context: int, runtime: str) -> None:
        self._engine, self.context, self.runtime = engine, context, runtime
        self.reset()

    def reset(self) -> None:
        self._tokens, self._state = 0, self._engine.make_state()

    def step(self, ids: np.ndarray) -> np.ndarray:
        seen = check_room(self._tokens, ids, self.context)
        # The program closes what is to be closed; the mask's length keeps it from looking at slots that are empty yet.
        mask = np.zeros((1, 1, 1, seen), np.float16)
        data: dict[str, np.ndarray] = {"inputIds": np.asarray(ids, np.int32)[None], "causalMask": mask}
        logits = self._engine.predict(data, self._state)["logits"]
        self._tokens = seen
        return np.asarray(logits[0], np.float32)

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        return last_logits(self, ids)


class FixedDecoder:
    """A `PackagedDecoder` over functions of fixed lengths, which give the logits of one token a call."""

    def __init__(self, engines: Mapping[int, Engine], context: int, runtime: str) -> None:
        """`engines` by the number of tokens each takes; a state made by one serves all, as they are of one package."""
        self._engines, self.context, self.runtime = dict(sorted(engines.items())), context, runtime
        self.reset()

    def reset(self) -> None:
        self._tokens, self._state = 0, next(iter(self._engines.values())).make_state()

    def step(self, ids: np.ndarray) -> np.ndarray:
        check_room(self._tokens, ids, self.context)
        return np.stack([self._run(ids[at : at + 1], min(self._engines)) for at in range(len(ids))])

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        """As few calls as can be: as long as possible, the rest in the shortest that holds it, padded."""
        check_room(self._tokens, ids, self.context)
        logits = np.empty(0)
        while len(ids):
            length = next((n for n in self._engines if n >= len(ids)), max(self._engines))
            logits, ids = self._run(ids[:length], length), ids[length:]
        return logits

    def _run(self, ids: np.ndarray, length: int) -> np.ndarray:
        """The logits of the last of `ids`, float32 (vocabulary,)."""
        padded = np.zeros((1, length), np.int32)
        padded[0, : len(ids)] = ids
        position, last = (np.array([n], np.int32) for n in (self._tokens, len(ids) - 1))
        data = {"inputIds": padded, "position": position, "last": last}
        logits = self._engines[length].predict(data, self._state)["logits"]
        self._tokens += len(ids)
        return np.asarray(logits[0, -1], np.float32)


def open_coreml(
    path: Path, context: int, precision: str = "float16", compute: str | None = None, corrected: bool = True
) -> PackagedDecoder:
    """Core ML on a Mac, on the units `compute` or those that the package is made for; elsewhere the interpreter,
    computing in `precision` (float16 or float32). Not `corrected`: the functions without what is held out, which only
    a package with an ablation has."""
    parts = [(package, read_interface(package)) for package in packages(path)]
    runtime = "Core ML" if sys.platform == "darwin" else f"MIL interpreter ({precision})"

    def engine(function: str) -> Engine:
        engines = [_engine(package, interface, function, precision, compute) for package, interface in parts]
        return ChunkedEngine(engines, [interface.inputs[function] for _, interface in parts])

    lengths = {
        function: taken for function, taken in parts[0][1].lengths.items()
        if function.endswith(UNCORRECTED) != corrected
    }  # fmt: skip
    if not any(lengths.values()):
        return CoreMLDecoder(engine("main" if corrected else f"main{UNCORRECTED}"), context, runtime)
    made = {function: engine(function) for function in lengths}
    return FixedDecoder({n: made[function] for function in lengths for n in lengths[function]}, context, runtime)


def _engine(package: Path, interface: Interface, function: str, precision: str, compute: str | None) -> Engine:
    if sys.platform != "darwin":
        return MilProgram(package, precision=precision, function=function)
    ct = coremltools()
    units = ct.ComputeUnit[UNITS[compute or interface.compute]]
    name = {"function_name": function} if len(interface.lengths) > 1 else {}
    try:
        model: Engine = ct.models.MLModel(str(package), compute_units=units, **name)
    except Exception as error:  # coremltools raises RuntimeError, and others for a damaged package
        raise PackageError(f"{package}: Core ML cannot load it ({first_line(error)}): convert again.") from error
    return model
