"""A checkpoint's tokenizer, whatever form it comes in, is the one that transformers reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizer_forms import BOS, EOS, Form, differences, forms, write

from edgesw.checkpoint.generation_config import generation_config
from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.errors import CheckpointError
from edgesw.text.tokenizer import Tokenizer

FORMS = {form.name: form for form in forms()}


def test_forms_have_names_of_their_own() -> None:
    assert len(FORMS) == len(list(forms())) > 300


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if at % 3 else []) for at, name in enumerate(FORMS)]
)
def test_ids_and_prompts_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    """A prompt that is not what the model was trained on costs quality: BOS before every text doubled a perplexity."""
    assert differences(write(tmp_path / "model", FORMS[name]), tmp_path / "package") == []


def test_a_difference_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would be worth nothing if it passed for another tokenizer."""
    folder = write(tmp_path / "model", Form(ends="bos"))
    monkeypatch.setattr(Tokenizer, "encode", lambda self, text, *, add_special_tokens=True: [1, 2])
    assert differences(folder, tmp_path / "package")


@pytest.mark.parametrize("cls", ["PreTrainedTokenizerFast", "NoSuchTokenizer", "TokenizersBackend", None])
def test_a_file_that_transformers_reads_as_it_is_stays_as_it_is(tmp_path: Path, cls: str | None) -> None:
    """Its checksum is the one on the hub. And the class is one that older transformers and onnxruntime-genai know."""
    folder = write(tmp_path, Form(ends="bos", cls=cls))
    files = tokenizer_from_folder(folder)
    assert files["tokenizer.json"] == (folder / "tokenizer.json").read_bytes()
    settings = json.loads(files["tokenizer_config.json"])
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["model_max_length"] == 4096, "the rest of the file is dropped"


@pytest.mark.parametrize(
    ("form", "added"),
    [
        (Form(ends="none", add_bos=True), (False, False)),
        (Form(ends="bos", add_bos=False), (True, False)),
        (Form(ends="both"), (True, True)),
        (Form(ends="none", files="merges", cls="Qwen2Tokenizer", add_bos=True), (True, False)),
    ],
)
def test_clients_that_go_by_the_switches_do_as_transformers_does(
    tmp_path: Path, form: Form, added: tuple[bool, bool]
) -> None:
    """onnxruntime-genai and transformers 4 read these switches; transformers 5 ignores them beside a tokenizer.json."""
    files = tokenizer_from_folder(write(tmp_path, form))
    settings = json.loads(files["tokenizer_config.json"])
    assert (settings["add_bos_token"], settings["add_eos_token"]) == added
    made = Tokenizer.from_files(files)
    assert (made.prefix_ids, made.suffix_ids) == ((1,) if added[0] else (), (2,) if added[1] else ())


def test_only_a_sentencepiece_model(tmp_path: Path) -> None:
    """transformers needs another library for it: the error says so instead of failing later."""
    (tmp_path / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="cannot read tokenizer.model .*save_pretrained"):
        tokenizer_from_folder(tmp_path)


def test_no_tokenizer_is_no_tokenizer_of_three_tokens(tmp_path: Path) -> None:
    """transformers makes one up for some families."""
    (tmp_path / "config.json").write_text('{"model_type": "gemma2"}')
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GemmaTokenizer"}')
    with pytest.raises(CheckpointError, match="there is no tokenizer.json"):
        tokenizer_from_folder(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    with pytest.raises(CheckpointError, match="transformers cannot read vocab.json"):
        tokenizer_from_folder(tmp_path)


HOSTILE: list[tuple[str, Any]] = [
    ("tokenizer.json", "{"),
    ("tokenizer.json", "[]"),
    ("tokenizer.json", {"model": {"type": "BPE"}}),
    ("tokenizer.json", {"model": {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 9}, "added_tokens": []}),
    ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": 2**32 - 1}, "merges": []}, "added_tokens": []}),
    ("tokenizer_config.json", "["),
    ("tokenizer_config.json", {"tokenizer_class": 3}),
    ("tokenizer_config.json", {"bos_token": {"content": "<s>"}}),
    ("tokenizer_config.json", {"fast_tokenizer_files": ["../tokenizer.4.0.json"]}),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["code.Evil", "code.Evil"]}, "tokenizer_class": "Evil"}),
    ("tokenizer_config.json", {"added_tokens_decoder": {"x": 3}}),
    ("tokenizer_config.json", {"chat_template": [3]}),
    ("tokenizer_config.json", {"encode": "x"}),
    ("special_tokens_map.json", "3"),
]
ODD: list[tuple[str, Any]] = [
    ("tokenizer_config.json", {"tokenizer_class": "../evil"}),
    ("tokenizer_config.json", {"init_inputs": [1, 2, 3]}),
    ("tokenizer_config.json", {"vocab_file": "/etc/passwd", "tokenizer_file": "/etc/passwd", "name_or_path": "a/b"}),
    ("tokenizer_config.json", {"split_special_tokens": True, "bos_token": BOS}),
    ("special_tokens_map.json", {"bos_token": {"nonsense": 1}}),
    ("special_tokens_map.json", {"pad_token": None, "bos_token": {"content": "<new>", "lstrip": True}}),
]


@pytest.mark.parametrize(("name", "content"), HOSTILE, ids=[f"{n}-{str(c)[:40]}" for n, c in HOSTILE])
def test_a_hostile_file_is_one_error_of_ours(
    tmp_path: Path, name: str, content: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path, Form(ends="bos"))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(CheckpointError):
        tokenizer_from_folder(folder)
    assert not (tmp_path / "sprung").exists()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("name", "content"), ODD, ids=[f"{n}-{str(c)[:40]}" for n, c in ODD])
def test_an_odd_file_is_read_as_transformers_reads_it(
    tmp_path: Path, name: str, content: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "model", Form(ends="bos", template="jinja"))
    (folder / name).write_text(json.dumps(content))
    tokenizer_from_folder(folder)
    assert capfd.readouterr() == ("", ""), "the tokenizers library prints past Python's streams"
    assert differences(folder, tmp_path / "package") == []


def test_nothing_is_printed_and_nothing_is_fetched(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Mistral's files make transformers warn, and ask the hub about the model's name."""
    folder = write(tmp_path, Form("llama3", "LlamaTokenizer", "bos", model="mistral"))
    tokenizer_from_folder(folder)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("config", "own", "ends"),
    [
        ({"eos_token_id": [2, 5]}, None, [2, 5]),
        ({"eos_token_id": 5}, None, 5),
        ({"eos_token_id": 5}, {"eos_token_id": [7, 8]}, [7, 8]),
        ({"eos_token_id": 5}, {"temperature": 0.6}, 5),
        ({"eos_token_id": 5}, {"eos_token_id": None}, 5),
        ({"eos_token_id": 5}, {"eos_token_id": -1}, 5),
        ({"eos_token_id": -1}, None, None),
        ({"eos_token_id": [2, None, -1]}, None, 2),
        ({}, None, None),
    ],
)
def test_a_package_says_where_a_text_ends(
    tmp_path: Path, config: dict[str, Any], own: dict[str, Any] | None, ends: Any
) -> None:
    """generation_config.json, else config.json, of which every id counts: a lost one is a model that does not stop."""
    if own is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(own))
    made = json.loads(generation_config(tmp_path, config))
    assert made.get("eos_token_id") == ends
    assert own is None or made.get("temperature") == own.get("temperature")


def test_the_tokenizers_own_eos_ends_a_text_too(tmp_path: Path) -> None:
    files = tokenizer_from_folder(write(tmp_path, Form(ends="bos")))
    files["generation_config.json"] = b'{"eos_token_id": [4, -1]}'
    made = Tokenizer.from_files(files)
    assert made.eos_ids == (2, 4)
    assert (made.encode(BOS), made.encode(EOS, add_special_tokens=False)) == ([1, 1], [2])
