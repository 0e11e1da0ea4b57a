"""The float model that a package is compared with: its own, found by its content, and no other unless asked for."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny import Ran, assert_one_line, edgesw

from edgesw.checkpoint import content_index
from edgesw.checkpoint.content_index import KEPT, content_of, find_content
from edgesw.files.checksums import content_hash
from edgesw.package.manifest import read_manifest

FEW = ("--windows", 1, "--tokens", 16, "--max-perplexity-increase", 1000)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new index, which knows nothing yet."""
    path = tmp_path / "cache" / "contents.json"
    monkeypatch.setattr(content_index, "index_path", lambda: path)
    return path


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The checkpoints whose files are read to be hashed, in order."""
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return content_hash(path)

    monkeypatch.setattr(content_index, "content_hash", counted)
    return read


def settled(model: Path) -> Path:
    """Files as old as those of a model that was not written this very moment."""
    for file in model.iterdir():
        os.utime(file, ns=(time.time_ns(), time.time_ns() - 10**10))
    return model


@pytest.fixture
def model(tiny_llama: Path, tmp_path: Path) -> Path:
    return settled(Path(shutil.copytree(tiny_llama, tmp_path / "model")))


@pytest.fixture
def package(model: Path, index: Path, tmp_path: Path) -> Path:
    """Converted from `model`, which the index knows since."""
    ran = edgesw("convert", model, "--target", "onnx", "--bits", 8, "--calibrate", "none", "-o", tmp_path / "package")
    assert ran.code == 0, ran.err
    return tmp_path / "package"


def other_weights(model: Path, folder: Path) -> Path:
    """The same sizes and tokens, other weights."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.weight"] *= np.float32(1.01)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return settled(folder)


def test_a_local_model_is_found_where_it_was(package: Path, model: Path) -> None:
    """On the machine that converted, validation needs nothing but the package; the package holds no path."""
    assert edgesw("validate", package, *FEW).code == 0
    assert str(model) not in (package / "manifest.json").read_text()
    assert read_manifest(package).source.content == content_hash(model)


@pytest.mark.parametrize("what", ["moved", "changed"])
def test_a_local_model_that_moved_or_changed_has_to_be_named(what: str, package: Path, model: Path) -> None:
    if what == "moved":
        model = model.rename(model.with_name("elsewhere"))
    else:
        (model / "config.json").write_text((model / "config.json").read_text() + "\n")
    assert_one_line(edgesw("validate", package, *FEW), 2, "a local folder ('model')", "name it with --against")
    if what == "moved":
        assert edgesw("validate", package, "--against", model, *FEW).code == 0


@pytest.mark.parametrize("command", ["validate", "compare", "report"])
def test_another_model_of_the_same_sizes_is_refused_unless_asked_for(
    command: str, package: Path, model: Path, tmp_path: Path
) -> None:
    """A fine-tune of the same model gives figures that look like those of a bad conversion."""
    other = other_weights(model, tmp_path / "other")
    words: dict[str, tuple[object, ...]] = {
        "validate": FEW, "compare": ("--windows", 1, "--no-speed"),
        "report": ("--windows", 1, "-o", tmp_path / "report.html", "--max-perplexity-increase", 1000),
    }  # fmt: skip

    def run(*more: object) -> Ran:
        return edgesw(command, package, "--against", other, *words[command], *more)

    assert_one_line(run(), 2, f"'{other}' is not the model that '{package}' was made from ('model'", "--other-model")
    ran = run("--other-model")
    assert ran.code == 0, ran.err


def test_a_package_without_a_content_hash_is_told_by_its_sizes(
    package: Path, model: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    from tiny import save_llama

    manifest = json.loads((package / "manifest.json").read_text())
    manifest["source"]["content"] = None
    (package / "manifest.json").write_text(json.dumps(manifest))
    assert_one_line(edgesw("validate", package, *FEW), 2, "name it with --against")
    assert edgesw("validate", package, "--against", model, *FEW).code == 0
    save_llama(tmp_path / "larger", steps=0, num_hidden_layers=3)
    assert_one_line(edgesw("validate", package, "--against", tmp_path / "larger", *FEW), 2, "is not the model that")


def test_unchanged_files_are_hashed_once(model: Path, index: Path, hashed: list[Path]) -> None:
    """Ten seconds for 15 GB, at each validation, would be spent on what is known."""
    expected = content_hash(model)
    assert [content_of(model), content_of(model)] == [expected] * 2 and hashed == [model]
    assert find_content(expected) == model and find_content("0" * 64) is None
    assert [path.name for path in index.parent.iterdir()] == [index.name], "written in one piece"


@pytest.mark.parametrize("change", ["content", "time", "more"])
def test_changed_files_are_hashed_again(change: str, model: Path, index: Path, hashed: list[Path]) -> None:
    """Else a model that was trained further would count as the one that was converted."""
    before, weights = content_of(model), model / "model.safetensors"
    if change == "content":  # of the same size
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    elif change == "time":
        os.utime(weights)
    else:
        shutil.copy(weights, model / "second.safetensors")
    assert find_content(before) is None
    assert (content_of(model) == before) == (change == "time") and len(hashed) == 2


def test_files_that_were_just_written_are_not_relied_on(model: Path, index: Path, hashed: list[Path]) -> None:
    """The next change may come within the same tick of the file system's clock, and leave time and size as they are."""
    os.utime(model / "config.json", ns=(time.time_ns(), time.time_ns() + 10**10))
    assert content_of(model) == content_of(model) == content_hash(model) and len(hashed) == 2


@pytest.mark.parametrize("damage", ["", "[{", "{}", '[{"path": 1}]', "[1]", "[" * 9999])
def test_a_damaged_index_is_ignored(damage: str, model: Path, index: Path, hashed: list[Path]) -> None:
    """A cache may cost time, never an answer."""
    index.parent.mkdir()
    index.write_text(damage)
    assert find_content("0" * 64) is None
    assert content_of(model) == content_of(model) == content_hash(model) and len(hashed) == 1, "and written anew"


def test_the_index_stays_small(tmp_path: Path, index: Path) -> None:
    """Years of conversions leave no more than the latest models."""
    for number in range(KEPT + 5):
        path = tmp_path / f"{number}.gguf"
        path.write_text(str(number))
        os.utime(path, (1, 1))
        content_of(path)
    assert len(json.loads(index.read_text())) == KEPT
    assert find_content(content_hash(tmp_path / "0.gguf")) is None
    assert find_content(content_hash(tmp_path / f"{KEPT}.gguf")) == tmp_path / f"{KEPT}.gguf"


def test_an_index_that_cannot_be_written_costs_time_alone(
    model: Path, index: Path, monkeypatch: pytest.MonkeyPatch, converted: Callable[..., Path]
) -> None:
    index.parent.write_text("a file where the folder should be")
    assert content_of(model) == content_hash(model)
