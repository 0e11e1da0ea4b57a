"""Runs an ONNX package in onnxruntime."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from edgesw.errors import PackageError, first_line
from edgesw.formats.onnx_interface import LOGITS_OFFSETS
from edgesw.runtime.packaged_decoder import check_room, pieces

# path/graph.cc:1587 void onnxruntime::Graph::Resolve(const Options&) const
_PLACE = re.compile(
    r"(?:/\S+|\b[\w-]+)\.(?:cc|cpp|h|hpp):\d+ "
    r"(?:[A-Z]\w+ (?=[A-Z])|[^():]*\w::[^()]*\([^()]*(?:\([^()]*\)[^()]*)*\)(?: const)? )?"
)
_MOST_HEADS = 1 << 24  # of a cache, and numbers in one


class OnnxDecoder:
    """A `PackagedDecoder` for model.onnx, on the CPU."""

    def __init__(self, path: Path, context: int) -> None:
        """Raises PackageError when onnxruntime cannot load the model."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised; its warnings are about its own optimizer
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
        except Exception as error:  # onnxruntime raises a class of its own for each status code
            raise PackageError(f"{path}: onnxruntime cannot load it ({said(error)}): convert again.") from error
        self.runtime, self.context = f"onnxruntime {onnxruntime.__version__}", context
        self._takes_offsets = any(
            value.name == LOGITS_OFFSETS for value in self._session.get_overridable_initializers()
        )
        self._past = [value for value in self._session.get_inputs() if value.name.startswith("past_key_values.")]
        for past in self._past:
            sizes = past.shape[1::2] if len(past.shape) == 4 else [None]
            if not all(type(size) is int and 0 < size <= _MOST_HEADS for size in sizes):
                raise PackageError(f"{path}: '{past.name}' is not a cache of an edgesw package: convert again.")
        self.reset()

    def reset(self) -> None:
        self._tokens = 0
        self._cache = {past.name: np.zeros((1, past.shape[1], 0, past.shape[3]), np.float32) for past in self._past}

    def step(self, ids: np.ndarray) -> np.ndarray:
        return self._run(ids, np.arange(1 - len(ids), 1))

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        for piece in pieces(ids):
            logits = self._run(piece, np.array([0]))
        return logits[-1]

    def rewind(self, tokens: int) -> bool:
        if tokens < self._tokens:
            self._cache = {name: np.ascontiguousarray(past[:, :, :tokens]) for name, past in self._cache.items()}
            self._tokens = tokens
        return True

    def _run(self, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Feeds the next tokens; returns the logits of those at `offsets` from the last, or of all if the model gives
        all."""
        total = check_room(self._tokens, ids, self.context)
        feeds = {
            "input_ids": np.asarray(ids, np.int64)[None],
            "attention_mask": np.ones((1, total), np.int64),
            **self._cache,
        }
        if self._takes_offsets:
            feeds[LOGITS_OFFSETS] = offsets
        names = ["logits", *(past.replace("past_key_values", "present") for past in self._cache)]
        try:
            logits, *present = self._session.run(names, feeds)
        except Exception as error:  # as above
            raise PackageError(f"onnxruntime cannot run the model ({said(error)}): convert again.") from error
        if logits.ndim != 3 or logits.dtype != np.float32:
            raise PackageError(f"the model's logits are {logits.dtype} {logits.shape}: convert again.")
        self._cache = dict(zip(self._cache, present, strict=True))
        self._tokens = total
        return np.asarray(logits[0])


def said(error: Exception) -> str:
    """What an error of onnxruntime's says, without the place in its source code and the signature there."""
    words = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", first_line(error))
    return _PLACE.sub(" ", words).strip()
