"""Wrong input ends in one line that says what is wrong and what to do, exit code 1 or 2, and leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import assert_one_line, edgesw, unchanged


def copy(tiny_llama: Path, folder: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, folder / "model"))


def edited_config(tiny_llama: Path, folder: Path, **values: object) -> Path:
    model = copy(tiny_llama, folder)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, **values}))
    return model


def no_config(tiny_llama: Path, folder: Path) -> Path:
    model = copy(tiny_llama, folder)
    (model / "config.json").unlink()
    return model


def other_architecture(tiny_llama: Path, folder: Path) -> Path:
    return edited_config(tiny_llama, folder, architectures=["GPT2LMHeadModel"], model_type="gpt2")


def damaged_config(tiny_llama: Path, folder: Path) -> Path:
    model = copy(tiny_llama, folder)
    (model / "config.json").write_text('{"architectures": [')
    return model


def config_of_another_size(tiny_llama: Path, folder: Path) -> Path:
    return edited_config(tiny_llama, folder, intermediate_size=192)


def truncated(tiny_llama: Path, folder: Path) -> Path:
    """An interrupted download."""
    model = copy(tiny_llama, folder)
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return model


def pickles(tiny_llama: Path, folder: Path) -> Path:
    model = copy(tiny_llama, folder)
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    return model


def other_gguf(tiny_llama: Path, folder: Path) -> Path:
    import gguf

    writer = gguf.GGUFWriter(folder / "rwkv.gguf", "rwkv7")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((8, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "rwkv.gguf"


def no_gguf(tiny_llama: Path, folder: Path) -> Path:
    (folder / "page.gguf").write_text("<html>Not found</html>")
    return folder / "page.gguf"


def no_tokenizer(tiny_llama: Path, folder: Path) -> Path:
    model = copy(tiny_llama, folder)
    (model / "tokenizer.json").unlink()
    return model


def damaged_tokenizer(tiny_llama: Path, folder: Path) -> Path:
    model = copy(tiny_llama, folder)
    (model / "tokenizer.json").write_text("{")
    return model


def tokenizer_of_another_model(tiny_llama: Path, folder: Path) -> Path:
    """Its ids lie beyond the embedding."""
    model = copy(tiny_llama, folder)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] = {token: number + 320 for token, number in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        token["id"] += 320
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    return model


MODELS: list[tuple[Callable[[Path, Path], Path], int, tuple[str, ...]]] = [
    (no_config, 2, ("has no config.json", "folder")),
    (other_architecture, 2, ("GPT2LMHeadModel is not supported", "LlamaForCausalLM", "MistralForCausalLM")),
    (damaged_config, 1, ("config.json: cannot be read as JSON",)),
    (config_of_another_size, 1, ("shape", "(160, 64)", "(192, 64)")),
    (truncated, 1, ("model.safetensors", "truncated or damaged: download it again")),
    (pickles, 2, ("pytorch_model.bin", "can run code", "save_pretrained")),
    (other_gguf, 2, ("rwkv.gguf: GGUF architecture 'rwkv7' is not supported", "Supported: llama")),
    (no_gguf, 1, ("page.gguf: not a GGUF file",)),
    (no_tokenizer, 1, ("no tokenizer.json", "AutoTokenizer")),
    (damaged_tokenizer, 1, ("model: tokenizer.json is damaged",)),
    (tokenizer_of_another_model, 1, ("the model has only 320", "they do not match")),
]


@pytest.mark.parametrize(("make", "code", "said"), MODELS, ids=[make.__name__ for make, _, _ in MODELS])
def test_a_model_that_cannot_be_taken(
    make: Callable[[Path, Path], Path], code: int, said: tuple[str, ...], tiny_llama: Path, tmp_path: Path
) -> None:
    """Else the user meets a traceback, or a package that is silently another model, or half a package."""
    model = make(tiny_llama, tmp_path)
    with unchanged(tmp_path):
        convert = ["convert", model, "--target", "onnx", "-o", tmp_path / "new" / "package"]
        for arguments in (["detect", model], convert, [*convert, "--no-hold-out"]):
            ran = edgesw(*arguments)
            assert_one_line(ran, code, *said)
            assert ".partial" not in ran.err, "the line names a hidden folder that is gone"


def test_an_unknown_name_suggests_near_ones(tmp_path: Path) -> None:
    """A typing mistake should cost a second, not a search."""
    with unchanged(tmp_path):
        for command in (["detect"], ["convert", "--target", "onnx", "-o", tmp_path / "x"]):
            ran = edgesw(*command, "smolm2-135m")
            assert_one_line(ran, 2, "unknown model 'smolm2-135m'. Did you mean 'smollm2-135m'", "mistral-7b")


def test_a_model_that_is_not_in_the_cache_offline(offline_hub: Path, tmp_path: Path) -> None:
    """On a train the user must learn that it is the network, not the model, that is missing."""
    with unchanged(tmp_path):
        ran = edgesw("convert", "nobody/nothing", "--target", "onnx", "-o", tmp_path / "x")
        assert_one_line(ran, 1, "'nobody/nothing' is not in the cache", "HF_HUB_OFFLINE")


OPTIONS: list[tuple[str, tuple[str, ...]]] = [
    ("--target onnx --bits 9", ("--bits", "2<=x<=8", "Try 'edgesw convert --help'.")),
    ("--target onnx --bits 1", ("--bits", "2<=x<=8")),
    ("--target onnx --bits four", ("--bits", "'four' is not a valid")),
    ("--target onnx --scheme palette", ("--target onnx", "no palette scheme", "block")),
    ("--target coreml --target onnx --scheme palette", ("--target onnx", "no palette scheme")),
    ("--target coreml --bits 3 --scheme block", ("--target coreml", "3-bit block", "4, 8", "--scheme")),
    ("--target onnx --group-size 24", ("--group-size 24", "powers of two from 16")),
    ("--target onnx --group-size 8", ("--group-size 8", "powers of two from 16")),
    ("--target coreml --scheme block --group-size 0", ("--group-size 0", "positive")),
    ("--target coreml --group-size -1", ("--group-size", "x>=0")),
    ("--target onnx --context 1025", ("--context 1025", "1 to 1024")),
    ("--target onnx --revision main", ("--revision", "is local")),
    ("--target tensorrt", ("'tensorrt' is not one of", "coreml", "onnx")),
    ("", ("--target",)),
]


@pytest.mark.parametrize(("options", "said"), OPTIONS, ids=[options or "no target" for options, _ in OPTIONS])
def test_an_option_that_cannot_be_had(options: str, said: tuple[str, ...], tiny_llama: Path, tmp_path: Path) -> None:
    """Said before the work begins, also for a dry run: else an hour later, or never."""
    with unchanged(tmp_path):
        for more in ([], ["--dry-run"]):
            ran = edgesw("convert", tiny_llama, *options.split(), "-o", tmp_path / "package", *more)
            assert_one_line(ran, 2, *said)


@pytest.mark.parametrize("command", ["validate", "generate"])
def test_what_is_no_package(command: str, tiny_llama: Path, tmp_path: Path) -> None:
    """Giving the checkpoint, or a path with a typing mistake, is the likeliest error of all."""
    more = ["hello"] if command == "generate" else []
    assert_one_line(edgesw(command, tmp_path / "nothing", *more), 2, "nothing' is not a folder", "edgesw convert")
    assert_one_line(edgesw(command, tiny_llama, *more), 2, "has no manifest.json", "edgesw convert")
