"""A damaged safetensors file gives one clear line, never a traceback and never wrong numbers."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from edgesw.checkpoint.safetensors import INDEX, SafetensorsReader
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError


def raw(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def reader_of(folder: Path, content: bytes) -> SafetensorsReader:
    (folder / "model.safetensors").write_bytes(content)
    return SafetensorsReader(folder)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_values_are_those_the_library_wrote(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).normal(size=(5, 7)).astype(dtype)
    save_file({"a": values, "odd": np.arange(3, dtype=dtype)}, tmp_path / "model.safetensors")
    reader = SafetensorsReader(tmp_path)
    assert reader.names() == {"a", "odd"}
    assert reader.shape("a") == (5, 7)
    assert reader.read("a").dtype == np.float32
    np.testing.assert_array_equal(reader.read("a"), values.astype(np.float32))
    np.testing.assert_array_equal(reader.read("a", np.array([4, 0])), values[[4, 0]].astype(np.float32))


def test_bfloat16_equals_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    values = torch.tensor([[1.0, -2.5, 3e38, 1e-40], [float("inf"), -0.0, 65280.0, 24017.0]]).bfloat16()
    save_torch({"a": values}, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(SafetensorsReader(tmp_path).read("a"), values.float().numpy())


def test_a_file_under_another_name_is_found_when_it_is_the_only_one(tmp_path: Path) -> None:
    save_file({"a": np.ones(2, np.float32)}, tmp_path / "weights.safetensors")
    assert SafetensorsReader(tmp_path).names() == {"a"}
    save_file({"b": np.ones(2, np.float32)}, tmp_path / "more.safetensors")
    with pytest.raises(CheckpointError, match=r"2 safetensors files but no model\.safetensors\.index\.json"):
        SafetensorsReader(tmp_path)


@pytest.mark.parametrize(("dtype", "count"), [("F8_E4M3", 8), ("I64", 1), ("U8", 8)])
def test_other_dtypes_are_refused_by_name(tmp_path: Path, dtype: str, count: int) -> None:
    reader = reader_of(tmp_path, raw({"a": entry([count], 0, 8, dtype)}, bytes(8)))
    with pytest.raises(UnsupportedError, match=rf"'a' is stored as {dtype}.*BF16, F16, F32, F64"):
        reader.shape("a")


DAMAGED = {
    "empty file": b"",
    "shorter than its length": b"\x01\x02",
    "length beyond the file": raw(b"{}", length=1 << 40),
    "length zero": raw(b""),
    "no JSON": raw(b"{{{{"),
    "no UTF-8": raw(b"\xff\xfe\xff\xfe"),
    "a list": raw([1]),
    "deep nesting": raw(b"[" * 100_000),
    "entry is a number": raw({"a": 1}),
    "no offsets": raw({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)),
    "three offsets": raw({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}, bytes(8)),
    "negative shape": raw({"a": entry([-1, -1], 0, 4)}, bytes(4)),
    "text for a size": raw({"a": {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]}}, bytes(4)),
    "shape too large for its bytes": raw({"a": entry([4], 0, 4)}, bytes(4)),
    "offsets reversed": raw({"a": entry([1], 4, 0)}, bytes(4)),
    "overlap": raw({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "hole": raw({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "truncated data": raw({"a": entry([4], 0, 16)}, bytes(15)),
    "bytes left over": raw({"a": entry([4], 0, 16)}, bytes(17)),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_names_the_file_and_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*download it again") as error:
        reader_of(tmp_path, content)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Nobody writes into it: opening it would wait for ever."""
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="no safetensors files"):
        SafetensorsReader(tmp_path)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.ones((4, 4), np.float32), "b": np.ones(3, np.float16)}, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "whole.safetensors").unlink()
    for size in range(len(whole)):
        with pytest.raises(CheckpointError):
            reader_of(tmp_path, whole[:size])


def test_flipped_bytes_never_end_in_a_traceback(tmp_path: Path) -> None:
    save_file({"a": np.ones((4, 4), np.float32)}, tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "whole.safetensors").unlink()
    random = np.random.default_rng(0)
    for _ in range(500):
        content = bytearray(whole)
        content[random.integers(len(whole) - 64)] = random.integers(256)
        try:
            reader = reader_of(tmp_path, bytes(content))
            for name in reader.names():
                reader.read(name)
        except EdgeswError:
            pass


def sharded(folder: Path, index: Any) -> None:
    save_file({"a": np.ones(2, np.float32)}, folder / "one.safetensors")
    save_file({"b": np.full(2, 2, np.float32)}, folder / "two.safetensors")
    (folder / INDEX).write_text(index if isinstance(index, str) else json.dumps(index))


def test_shards_are_read_where_the_index_says(tmp_path: Path) -> None:
    sharded(tmp_path, {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})
    reader = SafetensorsReader(tmp_path)
    assert [reader.read(name).tolist() for name in "ab"] == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    "shard", ["../out.safetensors", "/etc/passwd", "sub/../../out", "C:\\x", "..\\x", "\\\\host\\x", ""]
)
def test_an_index_cannot_lead_out_of_its_folder(tmp_path: Path, shard: str) -> None:
    (tmp_path / "out.safetensors").write_bytes(b"secret")
    folder = tmp_path / "model"
    folder.mkdir()
    sharded(folder, {"weight_map": {"a": shard}})
    with pytest.raises(CheckpointError, match="leads out of the folder"):
        SafetensorsReader(folder)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "not a safetensors index"),
        ("[]", "not a safetensors index"),
        ({"weights": {}}, "not a safetensors index"),
        ({"weight_map": {}}, "which file each tensor is in"),
        ({"weight_map": {"a": 1}}, "which file each tensor is in"),
        ({"weight_map": {"a": "three.safetensors"}}, r"'three\.safetensors' is missing.*[Dd]ownload"),
        ({"weight_map": {"b": "one.safetensors"}}, "tensor 'b' is missing"),
    ],
)
def test_a_damaged_index_is_one_line(tmp_path: Path, index: Any, said: str) -> None:
    sharded(tmp_path, index)
    with pytest.raises(CheckpointError, match=said):
        SafetensorsReader(tmp_path)
