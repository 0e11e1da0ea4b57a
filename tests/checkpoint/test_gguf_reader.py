"""A defect in a GGUF is reported in one line; its metadata gives the config that transformers would make."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.gguf import GgufReader
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError, UsageError

Write = Callable[..., Path]


def test_quantized_types_equal_the_gguf_package(tmp_path: Path) -> None:
    """Picking rows before dequantizing gives the same values as picking them after."""
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "types.gguf", "llama")
    values = np.random.default_rng(0).normal(size=(6, 256)).astype(np.float32)
    kinds = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
    stored = {}
    for kind in kinds:
        kind_type = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(values, kind_type)
        stored[kind] = gguf.quants.dequantize(data, kind_type)
        writer.add_tensor(kind, data, raw_dtype=kind_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    reader = GgufReader(tmp_path / "types.gguf")
    for kind in kinds:
        assert reader.shape(kind) == (6, 256)
        np.testing.assert_array_equal(reader.read(kind), stored[kind], err_msg=kind)
        np.testing.assert_array_equal(reader.read(kind, slice(2, 4)), stored[kind][2:4], err_msg=kind)
        np.testing.assert_array_equal(reader.read(kind, np.array([5, 1])), stored[kind][[5, 1]], err_msg=kind)


def test_another_architecture_lists_what_is_supported(write_gguf: Write, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "falcon.gguf", architecture="falcon")
    with pytest.raises(UsageError, match=r"falcon\.gguf: GGUF architecture 'falcon'.*Supported: llama"):
        open_checkpoint(str(path))


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 and so on", b"ggml"])
def test_a_file_that_is_not_gguf_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.gguf: not a GGUF file"):
        open_checkpoint(str(path))


def test_a_file_cut_anywhere_is_refused(write_gguf: Write, tmp_path: Path) -> None:
    """In the magic, the metadata, the table of tensors, and the last tensor's data."""
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in (4, 7, 8, 23, 24, 30, 100, 400, 1000, 2000, len(whole) // 2, len(whole) - 64):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"cut\.gguf.*[Dd]ownload it again") as error:
            open_checkpoint(str(path))
        assert "\n" not in str(error.value), size


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_flipped_bytes_never_end_in_a_traceback(write_gguf: Write, tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf").read_bytes()
    path = tmp_path / "flipped.gguf"
    random = np.random.default_rng(0)
    for _ in range(150):
        content = bytearray(whole)
        content[random.integers(4, 1800)] = random.integers(256)
        path.write_bytes(content)
        with contextlib.suppress(EdgeswError):
            open_checkpoint(str(path))


@pytest.mark.parametrize("kind", [0, 7, 8, 9, 12], ids=["bytes", "flags", "texts", "lists", "numbers"])
def test_an_array_longer_than_its_file_is_refused_at_once(tmp_path: Path, kind: int) -> None:
    """A few bytes that announce 2**60 values would otherwise fill the memory."""
    path = tmp_path / "long.gguf"
    key = struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, kind, 2**60)
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
    with pytest.raises(CheckpointError, match=r"long\.gguf: cannot be read as GGUF .*download it again"):
        GgufReader(path)


def test_a_line_break_in_a_name_stays_in_the_line(write_gguf: Write, tmp_path: Path) -> None:
    """Names from a file are printed: with line breaks or escape sequences they could show the user anything."""
    path = write_gguf(tmp_path / "m.gguf", extra={"a\n\x1b[2Jb": np.zeros(4, np.float32)})
    with pytest.raises(UnsupportedError, match=r"holds tensor 'a\\n\\x1b\[2Jb'"):
        open_checkpoint(str(path))


def test_one_part_of_a_split_file_says_how_to_join(write_gguf: Write, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "part.gguf", change=lambda writer: writer.add_uint16("split.count", 3))
    with pytest.raises(UnsupportedError, match=r"split GGUF.*--merge"):
        open_checkpoint(str(path))


def test_missing_and_unknown_tensors_are_named(write_gguf: Write, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "less.gguf", without=("model.layers.1.mlp.up_proj.weight",))
    with pytest.raises(CheckpointError, match=r"blk\.1\.ffn_up\.weight' is missing \(1 of"):
        open_checkpoint(str(path))
    path = write_gguf(tmp_path / "bias.gguf", extra={"blk.0.attn_q.bias": np.zeros(64, np.float32)})
    with pytest.raises(UnsupportedError, match=r"blk\.0\.attn_q\.bias"):
        open_checkpoint(str(path))


def test_a_type_that_cannot_be_dequantized_is_named(write_gguf: Write, tmp_path: Path) -> None:
    extra = {"output_norm.weight": np.zeros(64, np.int32)}
    path = write_gguf(tmp_path / "int.gguf", without=("model.norm.weight",), extra=extra)
    with pytest.raises(UnsupportedError, match=r"'output_norm\.weight' is stored as I32"):
        open_checkpoint(str(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda writer: writer.add_string("llama.rope.scaling.type", "xpos"), "rope type 'xpos'"),
        (lambda writer: writer.add_expert_count(8), r"mixture of experts \(8\)"),
        (lambda writer: writer.add_key_length(32), r"only part of each head is rotated \(16 of 32 channels\)"),
        (lambda writer: writer.add_value_length(32), "value heads do not have the size of key heads"),
        (lambda writer: writer.add_attention_scale(0.1), r"'llama\.attention\.scale' is 0\.1"),
    ],
    ids=["rope type", "experts", "partial rotary", "large values", "scale"],
)
def test_unsupported_settings_are_named(write_gguf: Write, tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        open_checkpoint(str(write_gguf(tmp_path / "m.gguf", change=change)))


def test_a_wrong_number_of_frequency_divisors_is_named(write_gguf: Write, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", extra={"rope_freqs.weight": np.ones(9, np.float32)})
    with pytest.raises(CheckpointError, match="'factors' .* must be a list of 8 numbers"):
        open_checkpoint(str(path))


def test_the_rope_factor_of_old_files_is_applied(write_gguf: Write, tmp_path: Path) -> None:
    """Files older than `rope.scaling.type` have `rope.scale_linear`: ignored, long texts would be misread."""
    plain = open_checkpoint(str(write_gguf(tmp_path / "plain.gguf"))).spec.rotaries[0].frequencies

    def stretch(writer: Any) -> None:
        writer.add_float32("llama.rope.scale_linear", 4.0)

    path = write_gguf(tmp_path / "old.gguf", change=stretch)
    np.testing.assert_allclose(open_checkpoint(str(path)).spec.rotaries[0].frequencies, np.array(plain) / 4)


def test_a_tied_gguf_and_its_end_tokens(write_gguf: Write, tmp_path: Path) -> None:
    """Without output.weight the head is the embedding; the end of a turn ends generation, like the end of a text."""

    def tokens(writer: Any) -> None:
        writer.add_bos_token_id(3)
        writer.add_eos_token_id(4)
        writer.add_eot_token_id(5)

    spec = open_checkpoint(str(write_gguf(tmp_path / "m.gguf", without=("lm_head.weight",), change=tokens))).spec
    assert spec.tied_head
    assert spec.bos_token_id == 3
    assert spec.eos_token_ids == (4, 5)
