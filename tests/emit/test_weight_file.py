"""weight.bin: Core ML must read the values that were written, for every type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesw.emit.weight_file import WeightFile
from edgesw.errors import EdgeswError
from edgesw.formats.weight_bin import CODES, bits_of
from edgesw.system.log_filter import coremltools


@pytest.mark.parametrize("dtype", CODES)
def test_each_type_is_written_as_coremltools_writes_it(dtype: str, tmp_path: Path) -> None:
    """With a wrong code or width a device would read other numbers than those that were compressed."""
    coremltools()
    native = pytest.importorskip("coremltools.libmilstoragepython", reason="no native coremltools for this machine")
    numbers = np.arange(40) % 2 ** min(bits_of(dtype) - dtype.startswith("int"), 7)
    stored = {"fp16": np.float16, "fp32": np.float32}.get(dtype) or (np.uint8 if bits_of(dtype) < 8 else dtype)
    values = numbers.astype(stored)
    writer = native._BlobStorageWriter(str(tmp_path / "theirs.bin"))
    as_wanted = {"fp16": np.uint16, "int4": np.int8}.get(dtype, values.dtype)
    getattr(writer, f"write_{'float' if dtype == 'fp32' else dtype}_data")(values.view(as_wanted))
    del writer  # which completes the file
    with WeightFile(tmp_path / "ours.bin") as file:
        file.write(values, dtype)
    assert (tmp_path / "ours.bin").read_bytes() == (tmp_path / "theirs.bin").read_bytes()


@pytest.mark.parametrize("dtype", ["bool", "bf16", "fp64"])
def test_a_type_that_it_cannot_hold_is_refused_in_one_line(dtype: str, tmp_path: Path) -> None:
    """Under a code that means something else, a mask of bools would be read as bfloat16, half as many numbers."""
    with WeightFile(tmp_path / "weight.bin") as file, pytest.raises(EdgeswError) as raised:
        file.write(np.ones(40, np.uint8), dtype)
    message = str(raised.value)
    assert f"'{dtype}'" in message and "weight.bin" in message and "fp16" in message and "\n" not in message
