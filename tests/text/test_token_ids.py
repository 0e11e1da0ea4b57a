"""A tokenizer may have tokens that the model has no row for. A text that has one ends in one line that names it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import TEXT, assert_one_line, edgesw
from tokenizers import AddedToken
from tokenizers import Tokenizer as Backend

from edgesw import open_package
from edgesw.errors import CheckpointError, PackageError, UsageError
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

EXTRA = "<image>"
BEYOND = "the token '<image>' (id 320)", "only 320 tokens"


def with_extra(folder: Path, *tokens: str) -> None:
    """Adds tokens to the tokenizer alone, which get the ids after the model's 320."""
    backend = Backend.from_file(str(folder / "tokenizer.json"))
    backend.add_tokens([AddedToken(token, normalized=False) for token in tokens])
    backend.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def model(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a tokenizer of 321 tokens, as models have that were made to see."""
    folder = Path(shutil.copytree(tiny_llama, tmp_path_factory.mktemp("beyond") / "model"))
    with_extra(folder, EXTRA)
    return folder


@pytest.fixture(scope="module")
def package(model: Path) -> Path:
    """A package of it for both targets, whose template writes the token."""
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings["chat_template"] = EXTRA + settings["chat_template"]
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    output = model.parent / "package"
    ran = edgesw(
        "convert", model, "--target", "coreml", "--target", "onnx", "--bits", 8, "--calibrate", "none", "-o", output
    )
    assert ran.code == 0, "tokens that do not occur do no harm: " + ran.err
    return output


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "mine.txt"
    path.write_text(TEXT[:300] + EXTRA + TEXT[300:2000])
    return path


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_a_prompt_with_such_a_token_is_refused(target: str, package: Path) -> None:
    """onnxruntime answered with nonsense, Core ML with an error about a gather."""
    ran = edgesw("generate", package, f"See {EXTRA}", "--target", target)
    assert_one_line(ran, 2, "the prompt has", *BEYOND, "leave it out")
    assert edgesw("generate", package, "See", "--target", target, "--max-tokens", 2).code == 0


def test_a_template_with_such_a_token_is_the_package_s_fault(package: Path) -> None:
    """There is nothing that the user could leave out."""
    ran = edgesw("generate", package, "See", "--chat")
    assert_one_line(ran, 1, "the chat template: the tokenizer gives", *BEYOND, "do not match, so convert again")


@pytest.mark.parametrize(("ids", "said"), [([1, 320], BEYOND[0]), ([1, 5000], "token id 5000"), ([-1], "token id -1")])
def test_logits_of_such_ids_are_refused(ids: list[int], said: str, package: Path) -> None:
    opened = open_package(package)
    with pytest.raises(UsageError) as error:
        opened.logits(ids)
    assert said in str(error.value)
    with pytest.raises(UsageError, match=EXTRA):
        opened.logits(f"See {EXTRA}")
    assert opened.logits([1, 319]).shape == (2, 320)


def test_texts_with_such_a_token_are_refused_by_every_command(package: Path, model: Path, text: Path) -> None:
    few = "--text", text, "--windows", 1
    for words in (
        ("validate", package, "--against", model, *few),
        ("compare", package, "--against", model, "--no-speed", *few),
        ("study", model, "--experiment", "prune", *few),
        ("convert", model, "--target", "onnx", "--calibrate", text, "-o", package.parent / "none"),
    ):
        assert_one_line(edgesw(*words), 2, "mine.txt has", *BEYOND, "leave it out")


@pytest.mark.parametrize("command", ["detect", "convert", "validate", "study"])
def test_texts_of_ours_with_such_a_token_mean_another_model_s_tokenizer(
    command: str, tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """Half of a download of one model and half of another: no text of the user's is to blame."""
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    with_extra(model, " com", " the")
    package = Path(shutil.copytree(converted("--target", "onnx", "--bits", 8, "--calibrate", "none"), tmp_path / "p"))
    manifest = json.loads((package / "manifest.json").read_text())
    shutil.copy(model / "tokenizer.json", package)
    import hashlib

    content = (package / "tokenizer.json").read_bytes()
    manifest["files"]["tokenizer.json"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (package / "manifest.json").write_text(json.dumps(manifest))
    words = {
        "detect": ["detect", model],
        "convert": ["convert", model, "--target", "onnx", "--no-hold-out", "-o", tmp_path / "none"],
        "validate": ["validate", package, "--against", model],
        "study": ["study", model, "--experiment", "prune"],
    }
    again = "convert again" if command == "validate" else "download it again"
    assert_one_line(edgesw(*words[command]), 1, "they do not match", again)


def test_ids_up_to_the_last_row_are_taken(tokenizer: Tokenizer) -> None:
    for error in (UsageError, CheckpointError, PackageError):
        check_ids(np.array([[0, 319], [5, 6]]), 320, tokenizer, "x", error)
        check_ids([], 320, tokenizer, "x", error)
        with pytest.raises(error, match=r"^x.* token id 320, but the model has only 320 tokens: "):
            check_ids(np.array([[0, 320]]), 320, tokenizer, "x", error)
