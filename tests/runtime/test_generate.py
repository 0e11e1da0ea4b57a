"""Generated text is that of the package's weights, and ends where it should."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONTEXT, assert_one_line, edgesw, logits_of

from edgesw.cli.program import run
from edgesw.errors import UsageError
from edgesw.package.manifest import read_manifest
from edgesw.runtime.generate import generate
from edgesw.runtime.packaged_decoder import CHUNK, PackagedDecoder, feed
from edgesw.targets.registry import open_decoder
from edgesw.text.texts import shipped_text
from edgesw.text.tokenizer import Tokenizer

PROMPT = "The county's brass was"
# How far below the best logit a chosen token may be, given float32 and float16 arithmetic.
GAP = {"onnx": 1e-3, "coreml": 0.05}


@pytest.fixture(scope="module")
def long_ids(tokenizer: Tokenizer) -> list[int]:
    """Text for more than the whole context."""
    return tokenizer.encode(shipped_text("validation").content[: 4 * CONTEXT])


@pytest.fixture(scope="module")
def decoders(unrounded_package: Path) -> dict[str, PackagedDecoder]:
    manifest = read_manifest(unrounded_package)
    return {target: open_decoder(unrounded_package, manifest, target) for target in manifest.models}


def assert_greedy(model: Any, prompt: list[int], tokens: Sequence[int], gap: float) -> None:
    """Checks that each token was the most likely one after those before it by transformers, up to `gap`."""
    logits = logits_of(model, [*prompt, *tokens])[len(prompt) - 1 : -1]
    below = logits.max(-1) - logits[np.arange(len(tokens)), list(tokens)]
    assert below.max() < gap, f"token {below.argmax()} is {below.max():.3f} below the best"


@pytest.mark.parametrize("target", ["coreml", "onnx"])
def test_text_is_that_of_transformers_with_the_same_weights(
    target: str,
    unrounded_package: Path,
    tiny_compressed: Any,
    tokenizer: Tokenizer,
    decoders: dict[str, PackagedDecoder],
) -> None:
    """With a wrong position, mask or cache the text may still be fluent: only the tokens show it."""
    prompt = tokenizer.encode(PROMPT)
    tokens = list(generate(decoders[target], prompt, (), 32))
    assert len(tokens) == 32
    assert len(set(tokens)) > 8, "a model that repeats one token would pass anything"
    assert_greedy(tiny_compressed, prompt, tokens, GAP[target])
    ran = edgesw("generate", unrounded_package, PROMPT, "--target", target, "--max-tokens", "32")
    assert ran.code == 0 and ran.err == ""
    until = next((at for at, token in enumerate(tokens) if token in tokenizer.eos_ids), 32)
    assert ran.out == PROMPT + tokenizer.decode(tokens[:until]) + "\n"


def test_the_first_model_of_the_package_is_the_default(tiny_package: Path) -> None:
    first, *_ = read_manifest(tiny_package).models
    words = ["generate", tiny_package, PROMPT, "--max-tokens", "2"]
    assert edgesw(*words).out == edgesw(*words, "--target", first).out


def test_a_chat_is_put_into_the_models_template(
    tiny_llama: Path,
    tiny_package: Path,
    tiny_compressed: Any,
    tokenizer: Tokenizer,
    decoders: dict[str, PackagedDecoder],
) -> None:
    """A chat model given a bare prompt rambles; given a wrong template, too. Only the answer is printed."""
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast.from_pretrained(tiny_llama)
    messages = [{"role": "user", "content": "What is a plum?"}]
    prompt = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    ran = edgesw("generate", tiny_package, "What is a plum?", "--chat", "--max-tokens", "12", "--target", "onnx")
    assert ran.code == 0, ran.err
    tokens = list(generate(decoders["onnx"], prompt, tokenizer.eos_ids, 12))
    assert ran.out == tokenizer.decode(tokens) + "\n"
    assert_greedy(tiny_compressed, prompt, tokens, GAP["onnx"])


class Clock(io.StringIO):
    """Remembers the length of what was written, at every write."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[int] = []

    def write(self, text: str) -> int:
        self.lengths.append(len(self.getvalue()) + len(text))
        return super().write(text)


def test_text_streams(tiny_package: Path) -> None:
    """On a phone-sized model a hundred tokens take seconds: waiting for all of them feels like a hang."""
    with contextlib.redirect_stdout(Clock()) as out:
        assert run(["generate", str(tiny_package), PROMPT, "--target", "onnx", "--max-tokens", "20"]) == 0
    assert len(set(out.lengths)) > 10


@pytest.fixture(scope="module")
def short_package(
    tiny_llama: Path, tiny_compressed: Any, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[int]]:
    """A package that holds 24 tokens, and ends at the fourth token that follows PROMPT; and these four."""
    ids = tokenizer.encode(PROMPT)
    tokens: list[int] = []
    while len(tokens) < 4:
        tokens.append(int(logits_of(tiny_compressed, [*ids, *tokens])[-1].argmax()))
    folder = tmp_path_factory.mktemp("short")
    shutil.copytree(tiny_llama, folder / "model")
    (folder / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, tokens[-1]]}))
    words = ["--target", "onnx", "--context", "24", "-o", folder / "package"]
    assert edgesw("convert", folder / "model", *words).code == 0
    return folder / "package", tokens


def test_it_stops_at_the_models_end_token(short_package: tuple[Path, list[int]], tokenizer: Tokenizer) -> None:
    """A model goes on after its end token. Chat models have a second end token in generation_config.json."""
    package, tokens = short_package
    before = tokens[: tokens.index(tokens[-1])]
    ran = edgesw("generate", package, PROMPT)
    assert ran.code == 0
    assert ran.out == PROMPT + tokenizer.decode(before) + "\n"


@pytest.mark.parametrize("most", [1, 2, 7])
def test_it_stops_at_max_tokens(most: int, decoders: dict[str, PackagedDecoder], long_ids: list[int]) -> None:
    assert len(list(generate(decoders["onnx"], long_ids[:5], (), most))) == most


def test_it_stops_when_the_context_is_full(short_package: tuple[Path, list[int]], tokenizer: Tokenizer) -> None:
    """One step further the runtime would fail, or read rotary positions that are not there."""
    package, _ = short_package
    manifest = read_manifest(package)
    assert manifest.context == 24
    decoder = open_decoder(package, manifest, "onnx")
    prompt = tokenizer.encode(PROMPT)
    assert len(prompt) < 24
    assert len(list(generate(decoder, prompt, (), 1000))) == 24 - len(prompt)
    assert len(list(generate(decoder, [5] * 23, (), 1000))) == 1
    ran = edgesw("generate", package, "Plums, pears", "--max-tokens", "1000")
    assert ran.code == 0 and ran.err == ""


def test_a_prompt_that_fills_the_context_is_refused(
    short_package: tuple[Path, list[int]], decoders: dict[str, PackagedDecoder], long_ids: list[int]
) -> None:
    """Before anything is printed: the prompt alone looks like an answer."""
    ran = edgesw("generate", short_package[0], PROMPT * 9)
    assert_one_line(ran, 2, "and the package holds 24: shorten it")
    for decoder in decoders.values():
        with pytest.raises(UsageError, match=f"the prompt has {CONTEXT} tokens and the package holds {CONTEXT}"):
            generate(decoder, long_ids[:CONTEXT], (), 1)


def test_an_empty_prompt_begins_a_text(tiny_package: Path, decoders: dict[str, PackagedDecoder]) -> None:
    """A model with BOS begins by itself; one without BOS has nothing to continue, and the error says so."""
    ran = edgesw("generate", tiny_package, "", "--target", "onnx", "--max-tokens", "4")
    assert ran.code == 0 and len(ran.out) > 1
    with pytest.raises(UsageError, match="the prompt is empty"):
        generate(decoders["onnx"], [], (), 1)


@pytest.mark.parametrize(
    ("target", "length"), [("onnx", CHUNK), ("onnx", CHUNK + 1), ("onnx", CHUNK + 200), ("coreml", CHUNK + 100)]
)
def test_a_long_prompt_in_pieces_is_the_same_as_at_once(
    target: str, length: int, unrounded_package: Path, long_ids: list[int], tiny_compressed: Any
) -> None:
    """Prompts are fed 512 tokens at a time: a mask or position that is off by one there spoils every long prompt.

    In float32: one token too many among hundreds changes little, and float16 would hide it.
    """
    decoder = open_decoder(unrounded_package, read_manifest(unrounded_package), target, "float32")
    ids = np.array(long_ids[: length + 3])
    decoder.reset()
    pieces = np.concatenate([feed(decoder, ids[:length]), *(decoder.step(ids[at : at + 1]) for at in range(-3, -1))])
    decoder.reset()
    whole = decoder.step(ids[:-1])
    assert np.abs(pieces - whole).max() < (0.1 if decoder.runtime == "Core ML" else 1e-3)
    assert np.abs(whole - logits_of(tiny_compressed, ids[:-1])).max() < {"onnx": 1e-3, "coreml": 0.1}[target]


def test_a_second_answer_does_not_depend_on_the_first(
    decoders: dict[str, PackagedDecoder], long_ids: list[int]
) -> None:
    for decoder in decoders.values():
        first = list(generate(decoder, long_ids[:9], (), 6))
        list(generate(decoder, long_ids[100:130], (), 6))
        assert list(generate(decoder, long_ids[:9], (), 6)) == first


def test_a_target_that_the_package_lacks_is_named(short_package: tuple[Path, list[int]]) -> None:
    ran = edgesw("generate", short_package[0], "x", "--target", "coreml")
    assert_one_line(ran, 2, "has no coreml model: it has onnx")


@pytest.mark.parametrize(
    ("target", "file"),
    [
        ("onnx", "model.onnx"),
        ("coreml", "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"),
        ("coreml", "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"),
    ],
)
def test_a_damaged_model_is_one_line(target: str, file: str, tiny_package: Path, tmp_path: Path) -> None:
    """Bytes that rotted on a stick: the libraries below would end in a traceback, or in a crash."""
    package = Path(shutil.copytree(tiny_package, tmp_path / "copy"))
    content = (package / file).read_bytes()
    (package / file).write_bytes(b"\xff" * 4096 + content[4096:])
    assert_one_line(edgesw("generate", package, "x", "--target", target), 1, str(package))
    (package / file).write_bytes(content[:-1])
    assert_one_line(edgesw("generate", package, "x", "--target", target), 1, f"{len(content) - 1} bytes")
