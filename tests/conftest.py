"""What many tests share: the tiny model, converted once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Float models that were run are kept for the user: tests have a place of their own."""
    folder = tmp_path_factory.mktemp("float")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgesw.validation.float_cache.cache_folder", lambda: folder)
        yield


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """(folder of the checkpoint, transformers' model). Do not write into the folder."""
    folder = tmp_path_factory.mktemp("checkpoints") / "Tiny"
    return folder, tiny.save_llama(folder)


@pytest.fixture(scope="session")
def tiny_llama(tiny_model: tuple[Path, Any]) -> Path:
    """Folder of the tiny checkpoint. Do not write into it."""
    return tiny_model[0]


@pytest.fixture(scope="session")
def tiny_package(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model converted for both targets with the defaults. Do not write into it."""
    folder = tmp_path_factory.mktemp("packages") / "tiny"
    ran = tiny.edgesw("convert", tiny_llama, "--target", "coreml", "--target", "onnx", "-o", folder)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture(scope="session")
def unrounded_package(tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, its ONNX model without inputs rounded to 8 bits."""
    folder = tmp_path_factory.mktemp("unrounded") / "tiny"
    shutil.copytree(tiny_package, folder)
    tiny.unrounded(folder / "model.onnx").replace(folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.onnx"]["sha256"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def tiny_compressed(tiny_llama: Path, tiny_package: Path) -> Any:
    """transformers' model with the weights that the package stands for."""
    return tiny.compressed_llama(tiny_llama, tiny_package)


@pytest.fixture
def offline_hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, as with HF_HUB_OFFLINE=1 and HF_HOME on a new folder."""
    from huggingface_hub import constants

    folder = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder
