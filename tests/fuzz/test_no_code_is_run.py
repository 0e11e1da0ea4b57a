"""A checkpoint is data: no pickle is loaded, no code of a model's is run, and YAML makes no objects."""

from __future__ import annotations

import ast
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny import assert_one_line, edgesw, unchanged

import edgesw as library
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.errors import EdgeswError, UsageError
from edgesw.recipes.recipes import read_recipes

SOURCES = sorted(Path(library.__file__).parent.rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
# What runs or loads code, by how it is called; `yaml.load` and the like take any loader.
CALLS = {"eval", "exec", "compile", "__import__", "torch.load", "yaml.load", "yaml.load_all", "yaml.unsafe_load",
         "yaml.full_load", "runpy.run_path", "runpy.run_module", "os.system", "os.popen"}  # fmt: skip


def called(call: ast.Call) -> str:
    parts: list[str] = []
    function: ast.expr = call.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id if isinstance(function, ast.Name) else "?", *reversed(parts)])


def offences(tree: ast.AST) -> Iterator[str]:
    """What in a module could load a pickle or run code that came with data."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            names += [name for name in names if name in CALLS]
        yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES or name in CALLS)
        if isinstance(node, ast.Call):
            if called(node) in CALLS:
                yield f"calls {called(node)}"
            for word in node.keywords:
                harmless = isinstance(word.value, ast.Constant) and word.value.value is False
                if word.arg in ("trust_remote_code", "allow_pickle") and not harmless:
                    yield f"passes {word.arg}"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_loads_pickles_or_runs_code_of_others(source: Path) -> None:
    """Else a model from the internet could do with a user's machine what it likes."""
    assert list(offences(ast.parse(source.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from joblib import load", "import torch\ntorch.load('x')", "from torch import load", "eval('1')",
     "yaml.load(x, Loader=y)", "f(trust_remote_code=True)", "np.load(x, allow_pickle=flag)"],
)  # fmt: skip
def test_what_it_looks_for_is_found(text: str) -> None:
    """A search that finds nothing in anything would prove nothing."""
    assert list(offences(ast.parse(text)))


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def copied(tiny_llama: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in tiny_llama.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_folder_with_pickles_alone_is_refused_unread(tiny_llama: Path, tmp_path: Path) -> None:
    """A pickle runs code when it is loaded: it must not be, whatever the option."""
    model = copied(tiny_llama, tmp_path / "model")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with unchanged(tmp_path):
        assert_one_line(edgesw("detect", model), 2, "pytorch_model.bin", "can run code when loaded")


def test_pickles_beside_safetensors_are_passed_over(tiny_llama: Path, tmp_path: Path) -> None:
    """Many checkpoints have both: the pickle must not be touched, even where its name promises an array."""
    model = copied(tiny_llama, tmp_path / "model")
    for name in ("pytorch_model.bin", "training_args.bin", "model.pt", "importance.npy"):
        (model / name).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    checkpoint = open_checkpoint(str(model))
    for name in checkpoint.names():
        checkpoint.tensor(name)
    checkpoint.tokenizer_files()
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_under_the_name_of_safetensors_is_damage(tiny_llama: Path, tmp_path: Path) -> None:
    """The name of a file says nothing of what is in it."""
    model = copied(tiny_llama, tmp_path / "model")
    (model / "model.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with unchanged(tmp_path), pytest.raises(EdgeswError, match=r"model\.safetensors"):
        open_checkpoint(str(model))


def test_code_that_comes_with_a_checkpoint_is_not_run(tiny_llama: Path, tmp_path: Path) -> None:
    """`auto_map` names Python files that transformers would import: a model of ours is read without them, any other
    architecture is refused."""
    model = copied(tiny_llama, tmp_path / "model")
    code = f"from pathlib import Path\nPath({str(tmp_path / 'sprung')!r}).touch()\n"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py", "__init__.py"):
        (model / name).write_text(code)
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_evil.Evil", "AutoModelForCausalLM": "modeling_evil.Evil"}
    (model / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(str(model))
    assert checkpoint.tensor("norm").shape == (checkpoint.spec.hidden_size,)
    stored = load_file(model / "model.safetensors")
    assert np.array_equal(checkpoint.tensor("norm"), stored["model.norm.weight"])
    (model / "config.json").write_text(json.dumps({**config, "architectures": ["EvilForCausalLM"]}))
    with pytest.raises(UsageError, match="'architectures' is EvilForCausalLM and 'model_type' is 'llama'"):
        open_checkpoint(str(model))
    assert not (tmp_path / "sprung").exists()


def test_a_recipe_makes_no_objects(tmp_path: Path) -> None:
    """YAML can name any function of Python's to call; a recipe that does is refused."""
    trap = tmp_path / "sprung"
    (tmp_path / "tiny.yaml").write_text(f"name: !!python/object/apply:pathlib.Path.touch [{trap}]\n")
    with pytest.raises(EdgeswError, match=r"recipe tiny\.yaml: not readable as YAML"):
        read_recipes(tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize("module", ["os.path", "a.b", "../x", ""])
def test_a_recipe_names_a_package_and_no_part_of_one(tmp_path: Path, module: str) -> None:
    """To look for a part of a package Python imports the package, and with it runs its code."""
    (tmp_path / "tiny.yaml").write_text(f"name: tiny\npackage: {{module: '{module}', files: '*.gguf', pypi: x}}\n")
    with pytest.raises(EdgeswError, match=r"'package\.module' must be"):
        read_recipes(tmp_path)


@pytest.mark.parametrize("files", ["../*.gguf", "/etc/*", "sub/*.gguf", "..", "C:\\*.gguf"])
def test_a_recipe_leads_to_no_file_outside_its_package(tmp_path: Path, files: str) -> None:
    """A pattern with folders in it would read files of the user's."""
    (tmp_path / "tiny.yaml").write_text(f"name: tiny\npackage: {{module: m, files: '{files}', pypi: x}}\n")
    with pytest.raises(EdgeswError, match=r"'package\.files' must be"):
        read_recipes(tmp_path)


def test_shards_in_the_hubs_cache_are_links_and_are_read(tiny_llama: Path, tmp_path: Path) -> None:
    """The cache of the hub keeps files apart from the folder that names them: refused, no model from it would open."""
    blobs, model = tmp_path / "blobs", copied(tiny_llama, tmp_path / "snapshot")
    blobs.mkdir()
    save_file(load_file(model / "model.safetensors"), blobs / "abc")
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to(blobs / "abc")
    assert open_checkpoint(str(model)).tensor("norm").size
