"""Arm64Decoder: an ONNX model that runs on another machine; token ids and logits go through pipes."""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np

from edgesw.errors import PackageError
from edgesw.runtime.arm_machine import Machine
from edgesw.runtime.packaged_decoder import check_room, last_logits


class Arm64Decoder:
    """A `PackagedDecoder`: `arm_guest.py serve` on a machine, which ends with this object."""

    def __init__(self, path: Path, context: int, machine: Machine) -> None:
        """Raises PackageError when the machine's onnxruntime cannot load the model."""
        self.context, self._path = context, path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process runs)
        self._process = subprocess.Popen(
            machine.arguments("serve", str(path)),
            env=machine.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        weakref.finalize(self, _end, self._process)
        version = self._read(int(np.frombuffer(self._read(8), np.int64)[0])).decode()
        self.runtime = f"onnxruntime {version}, {machine.name}"
        self._tokens = 0

    def reset(self) -> None:
        self._tokens = 0
        self._write(np.array([0], np.int64))

    def step(self, ids: np.ndarray) -> np.ndarray:
        self._tokens = check_room(self._tokens, ids, self.context)
        self._write(np.array([len(ids), *ids], np.int64))
        tokens, vocabulary = np.frombuffer(self._read(16), np.int64).tolist()
        return np.frombuffer(self._read(4 * tokens * vocabulary), np.float32).reshape(tokens, vocabulary)

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        return last_logits(self, ids)

    def _write(self, message: np.ndarray) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(message.tobytes())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        answer = self._process.stdout.read(size)
        if len(answer) < size:
            self._fail()
        return answer

    def _fail(self) -> None:
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines() or ["it ended without a message"]
        raise PackageError(
            f"{self._path}: the emulated onnxruntime cannot run it: {lines[-1].rstrip('.')}. Leave out --runtime."
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
