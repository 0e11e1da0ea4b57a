"""A checkpoint that another program cuts short while it is read ends in one line, not in a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

READ = """
import os, sys
from pathlib import Path
import edgesw.checkpoint.reader as reading
from edgesw.checkpoint.{module} import {reader}
from edgesw.errors import CheckpointError

path, file = Path(sys.argv[1]), Path(sys.argv[2])
reader = {reader}(path)
fromfile, calls = reading.np.fromfile, []

def cut_first(*arguments):
    calls.append(None)
    if len(calls) == 3:
        os.truncate(file, file.stat().st_size // 2)
    return fromfile(*arguments)

reading.AT_ONCE, reading.np.fromfile = 4096, cut_first
try:
    reader.read("a")
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_a_file_cut_short_while_a_tensor_is_read(kind: str, tmp_path: Path) -> None:
    """A mapped file that is replaced by a download would end the process with a bus error."""
    values = np.arange(512 * 256, dtype=np.float32).reshape(512, 256)
    if kind == "safetensors":
        file = tmp_path / "model.safetensors"
        save_file({"a": values}, file)
        code = READ.format(module="safetensors", reader="SafetensorsReader")
    else:
        gguf = pytest.importorskip("gguf")
        file = tmp_path / "model.gguf"
        writer = gguf.GGUFWriter(file, "llama")
        writer.add_tensor("a", values)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        code = READ.format(module="gguf", reader="GgufReader")
    ran = subprocess.run(
        [sys.executable, "-c", code, tmp_path if kind == "safetensors" else file, file],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "cannot read tensor 'a'" in ran.stdout and "truncated" in ran.stdout and ran.stdout.count("\n") == 1


READ_METADATA = """
import os, sys
from pathlib import Path
import edgesw.checkpoint.gguf_file as gguf_file
from edgesw.checkpoint.gguf import GgufReader
from edgesw.errors import CheckpointError

text = gguf_file._Head.text

def cut(head):
    os.truncate(sys.argv[1], 1000)
    return text(head)

gguf_file._Head.text = cut
try:
    GgufReader(Path(sys.argv[1]))
except CheckpointError as error:
    print(error)
"""


def test_a_gguf_cut_short_while_its_metadata_is_read(tmp_path: Path) -> None:
    """Metadata holds a vocabulary of megabytes: mapped, it would end the process just as a tensor would."""
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_array("tokenizer.ggml.scores", [0.5] * 500_000)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ran = subprocess.run([sys.executable, "-c", READ_METADATA, file], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "cut short while it was read" in ran.stdout and ran.stdout.count("\n") == 1
