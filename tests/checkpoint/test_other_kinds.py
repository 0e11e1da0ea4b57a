"""Folders that hold something else than a float model, or two statements at once: said in one line that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import edgesw

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.errors import EdgeswError, UsageError

Tiny = tuple[Path, dict[str, np.ndarray]]
LORA = {"peft_type": "LORA", "base_model_name_or_path": "owner/base", "r": 4, "target_modules": ["q_proj"]}


def copied(tiny: Tiny, folder: Path) -> Path:
    shutil.copytree(tiny[0], folder)
    return folder


def with_tensors(folder: Path, **more: torch.Tensor) -> None:
    file = folder / "model.safetensors"
    save_file({**load_file(file), **more}, file)


def adapter_alone(tiny: Tiny, folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(LORA))
    save_file({"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(4, 64)},
              folder / "adapter_model.safetensors")  # fmt: skip
    return folder


def adapter_beside_the_model(tiny: Tiny, folder: Path) -> Path:
    (copied(tiny, folder) / "adapter_config.json").write_text(json.dumps(LORA))
    return folder


def adapter_without_its_config(tiny: Tiny, folder: Path) -> Path:
    save_file({"x": torch.ones(1)}, copied(tiny, folder) / "adapter_model.safetensors")
    return folder


def adapter_inside_the_file(tiny: Tiny, folder: Path) -> Path:
    with_tensors(copied(tiny, folder), **{"model.layers.0.self_attn.q_proj.lora_A.default.weight": torch.ones(4, 64)})
    return folder


def gptq_of_old(tiny: Tiny, folder: Path) -> Path:
    (copied(tiny, folder) / "quantize_config.json").write_text(json.dumps({"bits": 4}))
    return folder


def gptq_tensors(tiny: Tiny, folder: Path) -> Path:
    with_tensors(copied(tiny, folder), **{"model.layers.0.mlp.up_proj.qweight": torch.ones(4, 4, dtype=torch.int32)})
    return folder


def compressed(tiny: Tiny, folder: Path) -> Path:
    path = copied(tiny, folder) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "compression_config": {"format": "pack-quantized"}}))
    return folder


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (adapter_alone, r"has a LoRA adapter of 'owner/base': merge it .*merge_and_unload"),
        (
            adapter_beside_the_model,
            r"has a LoRA adapter of 'owner/base', beside a model that it would change: merge it",
        ),
        (adapter_without_its_config, r"has a LoRA adapter, beside a model that it would change: merge it"),
        (
            adapter_inside_the_file,
            r"'model.layers.0.self_attn.q_proj.lora_A.*' belongs to an adapter \(LoRA\): merge it",
        ),
        (gptq_of_old, r"has a quantize_config.json: .* quantized already \(GPTQ or AWQ\). Use the original"),
        (
            gptq_tensors,
            r"up_proj.qweight' belongs to a model that is quantized already \(GPTQ or AWQ\): use the original",
        ),
        (compressed, r"'compression_config' says that the weights are quantized already: use the original"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_it_is_called_by_its_name(tiny: Tiny, tmp_path: Path, make: Callable[[Tiny, Path], Path], said: str) -> None:
    """Told to download the files again, people would, and have the same files."""
    with pytest.raises(EdgeswError, match=said):
        open_checkpoint(str(make(tiny, tmp_path / "folder")))


def test_two_tensors_for_one_place_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    """transformers would take whichever it reads last."""
    with_tensors(copied(tiny, tmp_path / "folder"), **{"norm.weight": torch.ones(64)})
    with pytest.raises(EdgeswError, match=r"'model.norm.weight' and 'norm.weight' are two tensors for one place"):
        open_checkpoint(str(tmp_path / "folder"))


def test_one_tensor_in_two_shards_is_refused(make_llama: Callable[..., Any], tmp_path: Path) -> None:
    """Shards of two versions of a model: which values count is anybody's guess."""
    make_llama(tmp_path, save={"max_shard_size": "60KB"})
    first, second = sorted(tmp_path.glob("*.safetensors"))[:2]
    name, tensor = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: tensor}, second)
    with pytest.raises(EdgeswError, match=rf"tensor '{name}' is in both '{first.name}' and '{second.name}'"):
        open_checkpoint(str(tmp_path))


def test_the_command_line_says_what_was_decided(tiny: Tiny, tmp_path: Path) -> None:
    """A config and a file that contradict each other are read as by transformers, and the user learns of it."""
    path = copied(tiny, tmp_path / "folder") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tie_word_embeddings": True}))
    ran = edgesw("convert", path.parent, "--target", "onnx", "--dry-run")
    assert "Warning: " in ran.err, ran.err
    assert "'lm_head.weight' is stored and differs from the embedding: it is used" in ran.err
    assert "Warning" not in edgesw("--quiet", "convert", path.parent, "--target", "onnx", "--dry-run").err


def test_old_shards_beside_the_model_are_mentioned(make_llama: Callable[..., Any], tmp_path: Path) -> None:
    make_llama(tmp_path, save={"max_shard_size": "60KB"})
    make_llama(tmp_path / "new")
    shutil.copy(tmp_path / "new" / "model.safetensors", tmp_path)
    (note,) = open_checkpoint(str(tmp_path)).notes
    assert note.startswith("model.safetensors is read, not the files that model.safetensors.index.json lists")


def test_a_missing_folder_is_still_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        open_checkpoint(str(tmp_path / "none"))
