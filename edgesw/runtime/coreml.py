"""Runs a Core ML package: in Core ML on a Mac, anywhere else in our MIL interpreter."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgesw.errors import PackageError, UsageError
from edgesw.quiet import coremltools
from edgesw.runtime.mil import MilProgram


class Engine(Protocol):
    """The part of coremltools.models.MLModel that is used here."""

    def make_state(self) -> Any: ...

    def predict(self, data: Mapping[str, np.ndarray], state: Any) -> dict[str, np.ndarray]: ...


class CoreMLDecoder:
    """A `PackagedDecoder` over a stateful ML Program."""

    def __init__(self, engine: Engine, context: int, runtime: str) -> None:
        self._engine, self.context, self.runtime = engine, context, runtime
        self.reset()

    def reset(self) -> None:
        self._tokens, self._state = 0, self._engine.make_state()

    def step(self, ids: np.ndarray) -> np.ndarray:
        seen = self._tokens + len(ids)
        if seen > self.context:
            raise UsageError(f"the package holds {self.context} tokens; convert with a larger --context.")
        # The program closes what is to be closed; the mask's length keeps it from looking at slots that are empty yet.
        mask = np.zeros((1, 1, 1, seen), np.float16)
        data: dict[str, np.ndarray] = {"inputIds": np.asarray(ids, np.int32)[None], "causalMask": mask}
        logits = self._engine.predict(data, self._state)["logits"]
        self._tokens = seen
        return np.asarray(logits[0], np.float32)


def open_coreml(package: Path, context: int, precision: str = "float16") -> CoreMLDecoder:
    """Core ML on a Mac; elsewhere the interpreter, computing in `precision` (float16 or float32)."""
    if sys.platform == "darwin":
        try:
            model = coremltools().models.MLModel(str(package))
        except Exception as error:  # coremltools raises RuntimeError, and others for a damaged package
            raise PackageError(f"{package}: Core ML cannot load it: {str(error).splitlines()[0]}") from error
        return CoreMLDecoder(model, context, "Core ML")
    return CoreMLDecoder(MilProgram(package, precision=precision), context, f"MIL interpreter ({precision})")
