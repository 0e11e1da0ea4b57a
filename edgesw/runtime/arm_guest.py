"""Runs ONNX models with onnxruntime and numpy alone, on another machine or an emulated one.

arm_guest.py cases FOLDER SUFFIX [KEY=VALUE ...]: runs each NAME.onnx in FOLDER on its input NAME.npy and writes
NAME.SUFFIX.npy; with session options.
arm_guest.py serve MODEL: a decoder that reads tokens from stdin and writes logits to stdout, see `serve`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def session(path: Path, settings: tuple[str, ...] = ()) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for setting in settings:
        options.add_session_config_entry(*setting.split("=", 1))
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def cases(folder: str, suffix: str, *settings: str) -> None:
    for path in sorted(Path(folder).glob("*.onnx")):
        inputs = np.load(path.with_suffix(".npy"))
        outputs = session(path, settings).run(None, {"x": inputs})[0]
        np.save(path.with_suffix(f".{suffix}.npy"), outputs)


def serve(model: str) -> None:
    """Writes the length of onnxruntime's version, int64, and the version; then answers messages.

    A message is N, int64, and N token ids, int64; the answer is (tokens, vocabulary), int64, and the logits, float32.
    A message with N = 0 forgets all tokens and has no answer.
    """
    run = session(Path(model))
    version = onnxruntime.__version__.encode()
    answer(np.int64(len(version)).tobytes() + version)
    past = [value for value in run.get_inputs() if value.name.startswith("past_key_values.")]
    names = ["logits", *(value.name.replace("past_key_values", "present") for value in past)]
    empty = {value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32) for value in past}
    takes_offsets = any(value.name == "logits_offsets" for value in run.get_overridable_initializers())
    caches, total = empty, 0
    while header := sys.stdin.buffer.read(8):
        count = int(np.frombuffer(header, np.int64)[0])
        if not count:
            caches, total = empty, 0
            continue
        ids = np.frombuffer(sys.stdin.buffer.read(8 * count), np.int64)[None]
        total += count
        feeds = {"input_ids": ids, "attention_mask": np.ones((1, total), np.int64), **caches}
        if takes_offsets:
            feeds["logits_offsets"] = np.arange(1 - count, 1)
        logits, *present = run.run(names, feeds)
        caches = dict(zip(caches, present, strict=True))
        answer(np.array(logits[0].shape, np.int64).tobytes() + logits[0].tobytes())


def answer(message: bytes) -> None:
    sys.stdout.buffer.write(message)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        cases(*sys.argv[2:])
