"""What many tests share: the tiny model and packages of it, made once for all worker processes of a run."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Threads in matrices this small only wait for each other, and each worker process has a core of its own. Before numpy
# and torch are imported, which read it then.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import tiny

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.text.tokenizer import Tokenizer

MakeOnce = Callable[[str, Callable[[Path], object]], Path]


def pytest_collection_finish() -> None:
    """Leaves what is imported out of later garbage collections: coremltools asks for one in every conversion, and each
    would look through the whole of torch and transformers for a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> MakeOnce:
    """`make_once(name, make)`: what `make(path)` writes, written once in a run, by the first worker that needs it."""
    root = tmp_path_factory.getbasetemp()
    root = (root if worker_id == "master" else root.parent) / "made-once"
    root.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        path, done = root / name, root / f"{name}.done"
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)  # of a worker that failed
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Results of float models, and where models are, are cached for the user: tests have a cache of their own."""
    folder = tmp_path_factory.mktemp("float")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgesw.validation.float_cache.cache_folder", lambda: folder)
        patch.setattr("edgesw.checkpoint.content_index.index_path", lambda: folder / "contents.json")
        yield


@pytest.fixture(scope="session")
def tiny_llama(make_once: MakeOnce) -> Path:
    """Folder of the tiny checkpoint. Do not write into it."""
    return make_once("Tiny", tiny.save_llama)


@pytest.fixture(scope="session")
def tiny_model(tiny_llama: Path) -> tuple[Path, Any]:
    """(folder of the checkpoint, transformers' model). Do not write into the folder."""
    return tiny_llama, tiny.load_llama(tiny_llama)


@pytest.fixture(scope="session")
def converted(tiny_llama: Path, make_once: MakeOnce) -> Callable[..., Path]:
    """`converted(*options)`: the tiny model's package with these options, converted once. Do not write into it."""

    def package(*options: object) -> Path:
        def convert(folder: Path) -> None:
            ran = tiny.edgesw("convert", tiny_llama, *options, "-o", folder)
            assert ran.code == 0, ran.err

        return make_once("-".join(["tiny", *(str(option).lstrip("-") for option in options)]), convert)

    return package


@pytest.fixture(scope="session")
def tiny_package(converted: Callable[..., Path]) -> Path:
    """The tiny model converted for both targets with the defaults. Do not write into it."""
    return converted("--target", "coreml", "--target", "onnx")


@pytest.fixture(scope="session")
def unrounded_package(tiny_package: Path, make_once: MakeOnce) -> Path:
    """The same, its ONNX model without inputs rounded to 8 bits."""

    def make(folder: Path) -> None:
        shutil.copytree(tiny_package, folder)
        tiny.unrounded(folder / "model.onnx").replace(folder / "model.onnx")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["model.onnx"]["sha256"] = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return make_once("unrounded", make)


@pytest.fixture(scope="session")
def tiny_compressed(tiny_llama: Path, tiny_package: Path, make_once: MakeOnce) -> Any:
    """transformers' model with the weights that the package represents."""
    return tiny.load_llama(
        make_once("compressed", lambda folder: tiny.compressed_llama(tiny_llama, tiny_package).save_pretrained(folder))
    )


@pytest.fixture(scope="session")
def tokenizer(tiny_llama: Path) -> Tokenizer:
    """The tiny model's."""
    return Tokenizer.from_folder(tiny_llama)


@pytest.fixture(scope="session")
def smollm2() -> Checkpoint:
    """The real model, SmolLM2-135M."""
    return open_checkpoint("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2: Checkpoint) -> Tokenizer:
    return Tokenizer.from_files(smollm2.tokenizer_files())


@pytest.fixture
def offline_hub(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, as with HF_HUB_OFFLINE=1 and HF_HOME on a new folder."""
    from huggingface_hub import constants

    folder = tmp_path_factory.mktemp("hub")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder
