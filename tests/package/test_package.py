"""A package says what it is, truly, and appears only when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from tiny import CONTEXT, SUPER_VALUE, SUPER_WEIGHT, edgesw, tree, unchanged

import edgesw as library
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.checkpoint.source import Source
from edgesw.conversion.convert import convert
from edgesw.conversion.settings import Settings
from edgesw.errors import PackageError, UsageError
from edgesw.files.checksums import content_hash
from edgesw.package.manifest import Manifest, PackageSource, read_manifest
from edgesw.package.publish import check_files, publish
from edgesw.recipes.recipes import load_recipe
from edgesw.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def manifest(tiny_package: Path) -> dict[str, Any]:
    return json.loads((tiny_package / "manifest.json").read_text())


@pytest.fixture
def copy(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "copy"))


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_the_manifest_lists_every_file_with_its_size_and_checksum(manifest: dict[str, Any], tiny_package: Path) -> None:
    """Whoever downloads a package must be able to tell that it is all there, and unchanged."""
    there = [path for path in tiny_package.rglob("*") if path.is_file() and path != tiny_package / "manifest.json"]
    assert manifest["files"] == {
        path.relative_to(tiny_package).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in there
    }
    assert {"model.onnx", "model.onnx.data", "model.mlpackage/Manifest.json", "README.md"} < manifest["files"].keys()


def test_the_tokenizer_is_the_checkpoints(tiny_llama: Path, tiny_package: Path) -> None:
    """One byte of difference, and the package reads other tokens than the model was trained on."""
    for name in ("tokenizer.json", "generation_config.json"):
        assert (tiny_package / name).read_bytes() == (tiny_llama / name).read_bytes()
    own, packaged = (json.loads((at / "tokenizer_config.json").read_text()) for at in (tiny_llama, tiny_package))
    assert packaged | own == packaged
    assert (tiny_package / "chat_template.jinja").read_text() == own["chat_template"]


def test_the_manifest_says_what_is_around_a_text(manifest: dict[str, Any], tiny_package: Path) -> None:
    """Apps put these ids around a text, and stop at these; nobody has to derive them from four files."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(tiny_package))
    bos, eos = theirs.bos_token_id, theirs.eos_token_id
    assert theirs("a")["input_ids"][0] == bos
    assert manifest["tokenizer"] == {"prefix_ids": [bos], "suffix_ids": [], "stop_ids": [eos]}


def test_the_manifest_tells_what_was_made_from_what(manifest: dict[str, Any], tiny_llama: Path) -> None:
    content = content_hash(tiny_llama)
    source = {"name": tiny_llama.name, "origin": "local folder", "revision": None, "content": content}
    assert manifest["source"] == source
    assert manifest["recipe"] is None
    models = manifest["models"]
    assert {name: model["path"] for name, model in models.items()} == {
        "coreml": "model.mlpackage",
        "onnx": "model.onnx",
    }
    assert models["onnx"]["files"] == ["genai_config.json", "model.onnx", "model.onnx.data"]
    assert all(name.startswith("model.mlpackage/") for name in models["coreml"]["files"])
    layers = {
        f"layers.{layer}.{kind}_proj" for layer in range(2) for kind in ("q", "k", "v", "o", "gate", "up", "down")
    }
    for model in models.values():
        told = {scheme: set(names) for scheme, names in model["matrices"].items()}
        assert told == {
            "block 4 bits, blocks of 32, zero points": layers,
            "block 8 bits, blocks of 32": {"embed_tokens"},
        }
        assert model["stored_bits"] == 4.625 and model["scheme"] == "block 4 bits, blocks of 32, zero points"
    functions = [{"name": "main", "lengths": [], "corrected": True}]
    layout = {"compute": "gpu", "lengths": [], "chunks": 1, "ablation": False, "functions": functions}
    assert (models["coreml"]["options"], models["onnx"]["options"]) == (layout, {"portable": False})
    assert manifest["settings"] == {
        "bits": 4,
        "size": None,
        "embedding_bits": 8,
        "cluster_dim": 1,
        "activations": None,
        "effort": "balanced",
        "context": CONTEXT,
        "hold_out": True,
        "hold_out_fraction": 0.0,
    }
    assert manifest["versions"]["edgesw"] == library.__version__
    config = json.loads((tiny_llama / "config.json").read_text())
    assert manifest["decoder"]["vocab_size"] == config["vocab_size"]
    assert manifest["decoder"]["layers"] == config["num_hidden_layers"]


def test_the_chat_template_is_told_as_pieces(tiny_package: Path) -> None:
    """Apps have no template language: without the pieces a chat model could only continue texts."""
    form, tokenizer = read_manifest(tiny_package).chat_format, Tokenizer.from_folder(tiny_package)
    said = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    assert form is not None and form.prompt(said, datetime.now()) == tokenizer.chat_prompt(said)


def test_the_super_weight_is_held_out_and_named(manifest: dict[str, Any]) -> None:
    """Not held out, it is lost in four bits, and the model with it."""
    layer, row, column = SUPER_WEIGHT
    assert manifest["super_weights"] == [{"layer": layer, "row": row, "column": column, "value": SUPER_VALUE}]


def test_held_out_columns_are_named_and_counted(manifest: dict[str, Any], tiny_package: Path) -> None:
    """Who compares packages must see what is kept in float16 and what it takes."""
    layer, _, column = SUPER_WEIGHT
    held = manifest["held_out_columns"]
    assert column in held[f"layers.{layer}.down_proj"], "the whole column takes no more room than the scalar"
    spec = read_manifest(tiny_package).decoder
    bytes_each = {name: 2 * spec.matrix_shape(name)[0] + 4 for name in held}
    assert manifest["correction_bytes"] == sum(len(columns) * bytes_each[name] for name, columns in held.items())
    card = " ".join((tiny_package / "README.md").read_text().split())
    assert f"{sum(map(len, held.values()))} column" in card
    assert f"takes {manifest['correction_bytes']} B of each model" in card


def test_without_hold_out_nothing_is_held_out(tiny_llama: Path, tmp_path: Path) -> None:
    ran = edgesw(
        "convert", tiny_llama, "--target", "onnx", "--no-hold-out", "--calibrate", "none", "-o", tmp_path / "x"
    )
    assert "Held out: nothing." in ran.out
    found = read_manifest(tmp_path / "x")
    assert found.super_weights == () and found.held_out_columns == {} and found.correction_bytes == 0
    assert found.settings.hold_out is False
    assert "--no-hold-out" in (tmp_path / "x" / "README.md").read_text()


def test_nothing_in_it_tells_where_it_was_made(tiny_package: Path, tiny_llama: Path) -> None:
    """Packages are published: folders, user and machine are nobody's business, and would make equal packages differ."""
    secrets = [str(tiny_llama.parent), str(tiny_package.parent), str(Path.home()), os.uname().nodename]
    for name, content in tree(tiny_package).items():
        for secret in secrets:
            assert content is None or len(secret) < 6 or secret.encode() not in content, f"{name} holds {secret}"
        assert ".partial" not in name


def test_mixed_widths_are_told(tiny_llama: Path, tmp_path: Path) -> None:
    """ONNX has no 3-bit codes: others are mixed. Told as one of them, the figures could not be understood."""
    edgesw("convert", tiny_llama, "--target", "onnx", "--bits", "3", "-o", tmp_path / "x")
    model = read_manifest(tmp_path / "x").models["onnx"]
    told = model.scheme
    assert told.startswith("block 2") and " and " in told and told.endswith(" bits, 3.00 on average"), told
    card = (tmp_path / "x" / "README.md").read_text()
    assert told in card and f"| {model.stored_bits:.2f} |" in card


# --- the model card --------------------------------------------------------------------------------------------------


def test_the_model_card_is_one_for_the_hub(tiny_package: Path, tiny_llama: Path) -> None:
    """A front matter that the hub cannot read hides the model from every search."""
    card = ModelCard.load(tiny_package / "README.md")
    assert card.data.library_name == "edgesw"
    assert card.data.pipeline_tag == "text-generation"
    assert {"coreml", "onnx"} <= set(card.data.tags)
    assert card.data.base_model is None, "a folder on somebody's disk is no model on the hub"
    assert card.text.strip().startswith(f"# {tiny_llama.name}, 4 bits")
    assert "| {} | {} | {} | {:.4f} |".format(*SUPER_WEIGHT, SUPER_VALUE) in card.text
    assert "edgesw validate . --against" in card.text, "without it the command fails: the manifest knows no path"
    for file in ("model.onnx", "model.mlpackage"):
        assert f"`{file}`" in card.text


@pytest.mark.parametrize("name", ["smollm2-135m", "llama-2-7b"])
def test_the_card_of_a_recipe_names_its_base_model_and_license(name: str, tiny_llama: Path, tmp_path: Path) -> None:
    """The hub links the two by it, and a licence has to travel with the weights."""
    recipe = load_recipe(name)
    assert recipe is not None
    checkpoint = open_checkpoint(str(tiny_llama))
    checkpoint.source = Source(name, "safetensors", tiny_llama, f"package {name}==1", recipe=recipe)
    settings = Settings(("onnx",), hold_out=False)
    made = convert(checkpoint, settings, tmp_path / "x", force=False, progress=lambda *_: None)
    assert (made.recipe, made.source.name) == (name, name)
    card = ModelCard.load(tmp_path / "x" / "README.md")
    assert card.data.base_model == recipe.hub_id
    assert card.data.to_dict()["base_model_relation"] == "quantized"
    assert card.data.license == {"smollm2-135m": "apache-2.0", "llama-2-7b": "other"}[name]
    if card.data.license == "other":
        assert card.data.license_name == "llama-2-community"
    assert f"# {recipe.hub_id}, 4 bits" in card.text


def test_a_model_from_the_hub_needs_no_recipe(tiny_llama: Path, offline_hub: Path, tmp_path: Path) -> None:
    """owner/name: the revision is pinned in the manifest, the card links the model, and validate finds it again."""
    commit = "5a0bbe4c" * 5
    repo = offline_hub / "models--tester--tiny"
    shutil.copytree(tiny_llama, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    ran = edgesw("convert", "tester/tiny", "--target", "onnx", "--calibrate", "none", "-o", tmp_path / "x")
    assert ran.code == 0, ran.err
    assert ran.out.endswith(f"Next: edgesw validate {tmp_path / 'x'}\n")
    content = content_hash(tiny_llama)
    assert read_manifest(tmp_path / "x").source == PackageSource("tester/tiny", "hub tester/tiny", commit, content)
    card = ModelCard.load(tmp_path / "x" / "README.md")
    assert card.data.base_model == "tester/tiny"
    assert commit in card.text
    assert edgesw("validate", tmp_path / "x", "--windows", 1, "--tokens", 16).code in (0, 3)


# --- reading it ------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was_written(tiny_package: Path) -> None:
    found = read_manifest(tiny_package)
    assert found.to_json() == (tiny_package / "manifest.json").read_text()
    assert found.context == CONTEXT


def edit(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda values: json.dumps({**values, **changes})


def edit_inner(key: str, **changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda values: json.dumps({**values, key: {**values[key], **changes}})


def edit_chat(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return edit_inner("chat_format", **changes)


def without(key: str) -> Callable[[dict[str, Any]], str]:
    return lambda values: json.dumps({name: value for name, value in values.items() if name != key})


def edit_model(**changes: Any) -> Callable[[dict[str, Any]], str]:
    return lambda values: json.dumps({**values, "models": {"onnx": {**values["models"]["onnx"], **changes}}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: "{", "is damaged"),
        (lambda values: "[]", "is damaged"),
        (without("decoder"), "'decoder' is missing"),
        (edit(format=9), "format 9 is not the one this version reads"),
        (edit(surprise=1), "is damaged"),
        (edit(settings={}), "is damaged"),
        (edit_model(path="../model.onnx"), "outside the package: ../model.onnx"),
        (edit_model(path="/etc/passwd"), "outside the package: /etc/passwd"),
        (edit(files={"../secret": {"sha256": "", "bytes": 1}}), "outside the package: ../secret"),
        (edit(files={"a/../README.md": {"sha256": "", "bytes": 1}}), "outside the package: a/../README.md"),
        (edit_model(path="linked"), "outside the package: linked"),
        (edit(files={"model.onnx": {"sha256": "", "bytes": "1"}}), "is damaged"),
        (edit(files={"model.onnx": {"bytes": 1}}), "is damaged"),
        (edit(files=["model.onnx"]), "is damaged"),
        (edit(models={"onnx": None}), "is damaged"),
        (edit_model(path="a\0b"), "outside the package: a\\x00b"),
        (edit_model(path="x" * 300), "outside the package: xxx"),
        (edit(models={}), "'models' is not what it should be"),
        (edit_model(files=["../secret"]), "outside the package: ../secret"),
        (edit_model(files=["elsewhere"]), "'models.onnx' is not what it should be"),
        (edit_model(options=[]), "'models.onnx.options' is not what it should be"),
        (edit(files={"model.onnx": 7}), "'files.model.onnx' is not an object"),
        (edit_inner("settings", context=1e999), "'settings.context' is not what it should be"),
        (edit_inner("decoder", layers="2"), "'decoder.layers' is not what it should be"),
        (lambda values: "[" * 100_000, "nested too deep"),
        (without("chat_format"), "'chat_format' is missing"),
        (edit(chat_format=[]), "is damaged"),
        (edit_chat(first=None), "'system' and 'first' must both be given or both be null"),
        (edit_chat(generation=7), "'chat_format.generation' is not what it should be"),
        (edit_chat(surprise=""), "is damaged"),
        (edit_chat(opening=None), "'chat_format.opening' is not an object"),
        (
            edit_chat(user={"before": "", "after": "", "left": "all", "right": "none"}),
            "'chat_format.user.left' is not what it should be",
        ),
        (edit_chat(thought={"end": "</think>"}), "is damaged"),
    ],
)
def test_a_manifest_that_is_damaged_or_malicious_is_refused(
    change: Callable[[dict[str, Any]], str], said: str, manifest: dict[str, Any], copy: Path
) -> None:
    """A package is a download: its manifest must not lead us out of its folder, nor into a traceback."""
    (copy / "manifest.json").write_text(change(manifest))
    (copy / "linked").symlink_to("/etc/hostname")
    with pytest.raises(PackageError, match=re.escape(said)) as error:
        read_manifest(copy)
    assert "\n" not in str(error.value)


def test_a_link_out_of_the_package_is_refused(manifest: dict[str, Any], copy: Path, tmp_path: Path) -> None:
    """An archive can hold symbolic links: one named in the manifest would have us read a file of the user's."""
    (tmp_path / "secret").write_bytes(b"secret")
    (copy / "link").symlink_to(tmp_path / "secret")
    (copy / "manifest.json").write_text(edit(files={"link": {"sha256": "", "bytes": 6}})(manifest))
    with pytest.raises(PackageError, match="outside the package: link"):
        read_manifest(copy)


def test_files_are_held_to_the_manifest(copy: Path) -> None:
    found = read_manifest(copy)
    check_files(copy, found, contents=True)
    data = copy / "model.onnx.data"
    whole = data.read_bytes()
    data.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    check_files(copy, found)
    with pytest.raises(PackageError, match="model.onnx.data is damaged: its SHA-256"):
        check_files(copy, found, contents=True)
    data.write_bytes(whole[:-1])
    with pytest.raises(PackageError, match=rf"model.onnx.data has {len(whole) - 1} bytes, not {len(whole)}"):
        check_files(copy, found)
    data.unlink()
    with pytest.raises(PackageError, match="model.onnx.data is missing"):
        check_files(copy, found)


# --- publishing it ---------------------------------------------------------------------------------------------------


def write(folder: Path, manifest: Manifest, text: str) -> None:
    (folder / "manifest.json").write_text(manifest.to_json())
    (folder / "README.md").write_text(text)


def publish_what(make: Callable[[Path], None], final: Path, force: bool = False) -> None:
    with publish(final, force) as folder:
        make(folder)


@pytest.fixture
def some(tiny_package: Path) -> Manifest:
    return replace(read_manifest(tiny_package), files={})


def test_nothing_is_at_the_final_path_before_the_end(some: Manifest, tmp_path: Path) -> None:
    """A program that waits for the folder must find it whole."""
    final = tmp_path / "a" / "b[1]" / "package"
    with publish(final, force=False) as folder:
        write(folder, some, "new")
        assert not final.exists()
        assert folder.parent == final.parent, "on another disk, moving it would not be one step"
    assert tree(final).keys() == {"manifest.json", "README.md"}
    assert [path.name for path in final.parent.iterdir()] == ["package"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_early_end_leaves_what_was_there(error: type[BaseException], some: Manifest, tmp_path: Path) -> None:
    """Also folders that were only made on the way; not one that somebody else has begun to use."""

    def fail(folder: Path) -> None:
        write(folder, some, "half")
        raise error

    def fail_beside_others(folder: Path) -> None:
        (tmp_path / "a" / "other").write_text("somebody else's")
        raise error

    final = tmp_path / "a" / "b" / "package"
    with unchanged(tmp_path), pytest.raises(error):
        publish_what(fail, final)
    with pytest.raises(error):
        publish_what(fail_beside_others, final)
    assert tree(tmp_path).keys() == {"a", "a/other"}


def test_a_package_that_cannot_be_put_in_place_gives_the_old_one_back(some: Manifest, tmp_path: Path) -> None:
    final = tmp_path / "package"
    publish_what(lambda folder: write(folder, some, "old"), final)
    with unchanged(tmp_path), pytest.raises(FileNotFoundError):
        publish_what(shutil.rmtree, final, force=True)


def test_somebody_elses_folder_that_appears_meanwhile_is_kept(some: Manifest, tmp_path: Path) -> None:
    """A conversion takes long enough for a folder of the same name to be made."""
    final = tmp_path / "package"

    def late(folder: Path) -> None:
        write(folder, some, "new")
        final.mkdir()
        (final / "thesis.txt").write_text("years")

    for force in (False, True):
        with pytest.raises(UsageError):
            publish_what(late, final, force)
        assert tree(tmp_path) == {"package": None, "package/thesis.txt": b"years"}
        shutil.rmtree(final)


@pytest.mark.parametrize("name", ["package", "package[1]", "pack*"])
def test_leftovers_of_the_dead_go_and_those_at_work_stay(name: str, some: Manifest, tmp_path: Path) -> None:
    """Else two conversions into one folder would destroy each other, and a killed one's gigabytes would stay."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    dead, alive = (tmp_path / f".{name}.{pid}.partial" for pid in (done.pid, os.getppid()))
    other = tmp_path / f".another.{done.pid}.partial"
    for folder in (dead, alive, other):
        folder.mkdir()
        (folder / "weights").write_text("x")
    with publish(tmp_path / name, force=False) as folder:
        write(folder, some, "new")
        assert not dead.exists()
    assert {path.name for path in tmp_path.iterdir()} == {name, alive.name, other.name}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="paths of that length cannot be made there")
def test_a_package_of_folders_in_folders_is_replaced_all_the_same(
    some: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive from the internet can hold more of them than Python removes: the conversion was done, and then failed,
    and so did every later one."""
    final, here = tmp_path / "package", os.open(tmp_path, os.O_RDONLY)
    publish_what(lambda folder: write(folder, some, "old"), final)
    monkeypatch.chdir(final)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    os.fchdir(here)
    os.close(here)
    try:
        publish_what(lambda folder: write(folder, some, "new"), final, force=True)
        for left in tmp_path.glob(".package.old.*"):  # as it is for the next process
            left.rename(tmp_path / f".package.old.{2**22 + 1}.partial")
        publish_what(lambda folder: write(folder, some, "newer"), final, force=True)
        assert tree(final)["README.md"] == b"newer"
    finally:  # pytest cannot remove it either
        subprocess.run(["rm", "-rf", final, *tmp_path.glob(".package.*")], check=True)
