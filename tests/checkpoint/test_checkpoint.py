"""A checkpoint gives transformers' weights under canonical names, and reads only what is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import save_tokenizer
from tiny_models import NORMS, SIZES, state

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.errors import CheckpointError, UnsupportedError

Tiny = tuple[Path, dict[str, np.ndarray]]


def hf_name(name: str) -> str:
    if name == "lm_head":
        return "lm_head.weight"
    kind = name.split(".")[-1]
    group = "self_attn." if kind[0] in "qkvo" and kind.endswith("_proj") else "mlp." if kind.endswith("_proj") else ""
    theirs = {ours: theirs for theirs, ours in NORMS.items()}.get(kind, group + kind)
    return "model." + name.removesuffix(kind) + theirs + ".weight"


def assert_same(checkpoint: Checkpoint, expected: dict[str, np.ndarray], tolerance: float = 0.0) -> None:
    names = checkpoint.names()
    assert len(names) == len(set(names)) == len({hf_name(name) for name in names})
    for name in names:
        ours, theirs = checkpoint.tensor(name), expected[hf_name(name)]
        assert ours.dtype == np.float32, name
        assert ours.shape == checkpoint.shape(name) == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance, err_msg=f"{name} is another tensor")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("shards", [{}, {"max_shard_size": "60KB"}], ids=["one file", "sharded"])
def test_every_tensor_equals_the_one_transformers_saved(
    make_llama: Callable[..., Any], tmp_path: Path, dtype: str, shards: dict[str, Any]
) -> None:
    model = make_llama(tmp_path, save=shards, dtype=dtype)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == bool(shards), "the test's checkpoint is not as meant"
    checkpoint = open_checkpoint(str(tmp_path))
    assert_same(checkpoint, state(model))
    assert checkpoint.spec.parameters() == model.num_parameters()


@pytest.mark.parametrize("rows", [slice(3, 9), np.array([7, 0, 7]), slice(None, None, 2)], ids=str)
@pytest.mark.parametrize("kind", ["safetensors", "gguf"])
def test_rows_are_the_rows_of_the_tensor(
    tiny: Tiny, write_gguf: Callable[..., Path], tmp_path: Path, rows: Any, kind: str
) -> None:
    """Rows that a GGUF permutes are picked in Hugging Face's order: wrong ones would go unnoticed."""
    checkpoint = open_checkpoint(str(tiny[0] if kind == "safetensors" else write_gguf(tmp_path / "tiny.gguf")))
    for name in ("embed_tokens", "layers.1.q_proj", "layers.0.k_proj", "layers.1.down_proj", "norm"):
        np.testing.assert_array_equal(checkpoint.rows(name, rows), checkpoint.tensor(name)[rows], err_msg=name)


def test_a_tied_head_is_the_embedding(make_llama: Callable[..., Any], tmp_path: Path) -> None:
    model = make_llama(tmp_path, tie_word_embeddings=True)
    checkpoint = open_checkpoint(str(tmp_path))
    assert checkpoint.spec.tied_head
    assert "lm_head" not in checkpoint.names()
    assert checkpoint.shape("lm_head") == (96, 64)
    np.testing.assert_array_equal(checkpoint.tensor("lm_head"), state(model)["model.embed_tokens.weight"])
    np.testing.assert_array_equal(checkpoint.rows("lm_head", slice(2)), checkpoint.tensor("embed_tokens")[:2])
    assert checkpoint.spec.parameters() == model.num_parameters(), "a tied head was counted twice"


def test_spec_of_a_tiny_model(tiny: Tiny) -> None:
    spec = open_checkpoint(str(tiny[0])).spec
    assert (spec.family, spec.layers, spec.heads, spec.kv_heads, spec.head_dim) == ("llama", 2, 4, 2, 16)
    assert (spec.bos_token_id, spec.eos_token_ids, spec.norm_eps) == (1, (2,), 1e-6)


def test_tensors_that_were_read_are_not_cached(tiny: Tiny) -> None:
    """The caller may write into a tensor: it is neither a view of the file nor seen by a later read."""
    checkpoint = open_checkpoint(str(tiny[0]))
    first = checkpoint.tensor("layers.0.down_proj")
    first[:] = 0
    assert checkpoint.tensor("layers.0.down_proj").any(), "writing into a tensor changed the checkpoint"


def test_wrong_shape_names_tensor_and_both_shapes(tiny: Tiny, tmp_path: Path) -> None:
    folder = edited(tiny[0], tmp_path, {"intermediate_size": 176})
    with pytest.raises(CheckpointError, match=r"layers\.0\.mlp\.gate_proj\.weight' has shape \(160, 64\).*\(176, 64\)"):
        open_checkpoint(str(folder))


def test_missing_tensors_are_counted(tiny: Tiny, tmp_path: Path) -> None:
    folder = edited(tiny[0], tmp_path, {"num_hidden_layers": 3})
    with pytest.raises(CheckpointError, match=r"model\.layers\.2\.input_layernorm\.weight' is missing \(9 of 30 are\)"):
        open_checkpoint(str(folder))


def test_an_unused_tensor_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    """Fewer layers than the file holds, or a bias: ignoring it would silently give a different model."""
    folder = edited(tiny[0], tmp_path, {"num_hidden_layers": 1})
    with pytest.raises(UnsupportedError, match=r"model\.layers\.1\.input_layernorm\.weight' \(9 such\)"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe"])
def test_damaged_config_is_one_line(tiny: Tiny, tmp_path: Path, content: bytes) -> None:
    folder = edited(tiny[0], tmp_path, {})
    (folder / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config\.json") as error:
        open_checkpoint(str(folder))
    assert "\n" not in str(error.value)


def test_folder_without_tokenizer_says_how_to_make_one(tiny: Tiny) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json.*save_pretrained"):
        open_checkpoint(str(tiny[0])).tokenizer_files()


def test_a_package_gets_the_tokenizers_files_and_no_others(tiny: Tiny, tmp_path: Path) -> None:
    folder = edited(tiny[0], tmp_path, {})
    save_tokenizer(folder)
    (folder / "chat_template.jinja").write_bytes(b"{{ messages }}")
    files = open_checkpoint(str(folder)).tokenizer_files()
    assert files["tokenizer.json"] == (folder / "tokenizer.json").read_bytes()
    assert files["chat_template.jinja"] == b"{{ messages }}"
    names = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"}
    assert files.keys() == names


def test_gguf_equals_what_transformers_reads_from_it(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    """The rows of q and k are interleaved in a GGUF: left so, RoPE would rotate the wrong channels."""
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    path = write_gguf(tmp_path / "tiny.gguf")
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    tensors = load_gguf_checkpoint(str(path), return_tensors=True, model_to_load=model)["tensors"]
    theirs = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    assert_same(open_checkpoint(str(path)), theirs, tolerance=1e-7)


def test_gguf_is_the_model_it_was_made_from(tiny: Tiny, write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    checkpoint = open_checkpoint(str(write_gguf(tmp_path / "tiny.gguf")))
    assert_same(checkpoint, tiny[1], tolerance=2e-3)  # Q8_0 rounds
    ours = {**asdict(open_checkpoint(str(tiny[0])).spec), "norm_eps": 1e-5, "bos_token_id": None, "eos_token_ids": ()}
    assert asdict(checkpoint.spec) == ours


def test_transformers_accepts_the_config_of_a_gguf(write_gguf: Callable[..., Path], tmp_path: Path) -> None:
    from transformers import LlamaConfig

    checkpoint = open_checkpoint(str(write_gguf(tmp_path / "tiny.gguf")))
    config = LlamaConfig(**checkpoint.config)
    assert {key: getattr(config, key) for key in SIZES} == SIZES
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 10000.0}
    assert config.rms_norm_eps == 1e-5
    json.dumps(checkpoint.config)  # must go into a manifest


def edited(folder: Path, tmp_path: Path, changes: dict[str, Any]) -> Path:
    """A copy of a checkpoint with changes to its config.json."""
    copy = tmp_path / "edited"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, **changes}))
    return copy
