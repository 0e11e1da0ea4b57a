"""Texts are cut into windows as in the papers, and a file that cannot be read gives one line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny import BOS, assert_one_line, edgesw
from tokenizers import Tokenizer as Backend

from edgesw.errors import EdgeswError, UsageError
from edgesw.text.texts import Text, load_text, shipped_text, wikitext_from_zip, windows
from edgesw.text.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def ids(tiny_llama: Path) -> list[int]:
    """The shipped text's tokens, from the tokenizers library itself."""
    backend = Backend.from_file(str(tiny_llama / "tokenizer.json"))
    return list(backend.encode(shipped_text("validation").content, add_special_tokens=False).ids)


def without_bos(folder: Path) -> Tokenizer:
    """The tokenizer of a model whose texts begin with their own first token. It names BOS all the same."""
    files = {name: (folder / name).read_bytes() for name in ("tokenizer.json", "tokenizer_config.json")}
    return Tokenizer.from_files(
        {
            **files,
            "tokenizer.json": json.dumps({**json.loads(files["tokenizer.json"]), "post_processor": None}).encode(),
        }
    )


def test_windows_are_consecutive_and_begin_with_bos(tiny_llama: Path, ids: list[int]) -> None:
    """A window without BOS would measure a model outside its training; an overlap would count tokens twice."""
    tokenizer = Tokenizer.from_folder(tiny_llama)
    bos = Backend.from_file(str(tiny_llama / "tokenizer.json")).token_to_id(BOS)
    found = windows(shipped_text("validation"), tokenizer, 5, 100)
    assert found.shape == (5, 100)
    assert (found[:, 0] == bos).all()
    assert found[:, 1:].ravel().tolist() == ids[: 5 * 99]


def test_without_bos_windows_are_full_of_text(tiny_llama: Path, ids: list[int]) -> None:
    found = windows(shipped_text("validation"), without_bos(tiny_llama), 3, 64)
    assert found.ravel().tolist() == ids[: 3 * 64]


def test_a_text_that_ends_early_gives_fewer_windows(tiny_llama: Path) -> None:
    """Padding would be measured like text."""
    tokenizer = Tokenizer.from_folder(tiny_llama)
    text = Text("short", shipped_text("validation").content[:1000])
    length = len(tokenizer.encode(text.content, add_special_tokens=False))
    assert windows(text, tokenizer, 1000, 51).shape == (length // 50, 51)
    assert windows(text, tokenizer, 8, length + 1).shape == (1, length + 1)
    assert windows(text, tokenizer, 8, 10 * length).shape == (1, length + 1), "one short window is better than none"


@pytest.mark.parametrize("content", ["", "a"])
def test_a_text_without_anything_to_predict_is_refused(content: str, tiny_llama: Path) -> None:
    with pytest.raises(UsageError, match="notes.txt: too short to measure on"):
        windows(Text("notes.txt", content), without_bos(tiny_llama), 8, 512)


def test_the_shipped_texts_are_two_and_long_enough() -> None:
    """Measured on its calibration text, any package looks good; measured on a page, figures are meaningless."""
    validation, calibration = shipped_text("validation").content, shipped_text("calibration").content
    assert min(len(validation), len(calibration)) > 29_000
    lines = {line for line in validation.splitlines() if len(line) > 40}
    assert len(lines) > 100
    assert not lines & set(calibration.splitlines())


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Zoë\n\nnaïve", encoding="utf-8")
    assert load_text(str(tmp_path / "mine.txt")) == Text("mine.txt", "Zoë\n\nnaïve")


def test_a_file_named_like_the_data_set_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wikitext2").write_text("my own")
    assert load_text("wikitext2").content == "my own"


def test_texts_that_cannot_be_read_are_one_line(tiny_llama: Path, tiny_package: Path, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"text\xff\xfe")
    (tmp_path / "empty").write_text("")
    for name, said in {
        "missing": "No such file or directory. Give a text file, or wikitext2.",
        "binary": "is not UTF-8 text: invalid start byte at byte 4",
        "empty": "empty: too short to measure on",
        ".": "Is a directory",
    }.items():
        ran = edgesw("validate", tiny_package, "--against", tiny_llama, "--text", tmp_path / name)
        assert_one_line(ran, 2, said)


def test_wikitext_offline_is_one_line_that_says_what_to_do(tiny_llama: Path, offline_hub: Path) -> None:
    ran = edgesw("validate", "any", "--text", "wikitext2")
    assert_one_line(ran, 1, "WikiText-2 cannot be fetched from the hub", "leave out --text", "give a file")


RAW = " \n = Robert Boulter = \n \n Robert Boulter is an English actor . \n He had a role . \n \n = = Career = = \n"


def test_wikitext_is_joined_as_in_the_papers(tmp_path: Path) -> None:
    """`"\\n\\n".join(dataset["text"])`, with blank lines as empty rows: joined otherwise, perplexity differs."""
    with zipfile.ZipFile(tmp_path / "wikitext.zip", "w") as archive:
        archive.writestr("wikitext-2-raw/wiki.train.raw", "not this")
        archive.writestr("wikitext-2-raw/wiki.test.raw", RAW)
    rows = [
        "",
        " = Robert Boulter = \n",
        "",
        " Robert Boulter is an English actor . \n",
        " He had a role . \n",
        "",
        " = = Career = = \n",
    ]
    assert wikitext_from_zip(tmp_path / "wikitext.zip") == "\n\n".join(rows)


def test_a_damaged_download_is_one_line(tmp_path: Path, offline_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may hold a proxy's answer instead of the file."""
    repo = offline_hub / "datasets--ggml-org--ci"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    (snapshot / "wikitext-2-raw-v1.zip").write_text("<html>Log in</html>")
    with pytest.raises(EdgeswError, match="cannot be fetched from the hub .*not a zip file"):
        load_text("wikitext2")
    with zipfile.ZipFile(snapshot / "wikitext-2-raw-v1.zip", "w") as archive:
        archive.writestr("wikitext-2-raw/wiki.test.raw", RAW)
    assert np.unique(list(load_text("wikitext2").content)).size > 10
    assert load_text("wikitext2").name == "WikiText-2 test"
