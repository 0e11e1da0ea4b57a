"""SentencePiece tokenizers from a GGUF give the tokens of the model's training, without the .model file."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import vocabularies as v
from charsmaps import charsmap

from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_tokenizer import tokenizer_from_gguf
from edgesw.errors import CheckpointError, EdgeswError
from edgesw.text.tokenizer import Tokenizer

MARKS = {"<think>": v.USER_DEFINED, "</think>": v.USER_DEFINED, "<|mark|>": v.CONTROL}
SPACES = {"  ": v.USER_DEFINED, v.SPACE * 3: v.USER_DEFINED, "\n\n": v.USER_DEFINED}
Encode = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def pieces() -> tuple[list[str], list[float]]:
    return v.bpe_pieces()


def random_texts(count: int) -> list[str]:
    """Random sequences of the characters on which tokenizers differ."""
    choose = random.Random(0)
    alphabet = "ab the an\t\n  éя日🎉<s>1"
    return ["".join(choose.choice(alphabet) for _ in range(choose.randrange(1, 40))) for _ in range(count)]


def read(path: Path) -> Tokenizer:
    return Tokenizer.from_files(tokenizer_from_gguf(GgufReader(path).metadata, path.name))


def encoder(path: Path) -> Encode:
    tokenizer = read(path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False)


def llama_cpp(path: Path) -> Encode:
    llama = pytest.importorskip("llama_cpp").Llama(str(path), vocab_only=True, verbose=False)
    return lambda text: llama.tokenize(text.encode(), add_bos=False, special=True)  # type: ignore[no-any-return]


def greedy(vocabulary: dict[str, Any], text: str) -> list[int]:
    """SentencePiece's rule: merge the neighbours that form the best piece, leftmost first; the rest becomes bytes."""
    number = {token: n for n, token in enumerate(vocabulary["tokens"])}
    score = {t: vocabulary["scores"][n] for t, n in number.items() if vocabulary["types"][n] == v.NORMAL}
    parts = list(text.replace(" ", v.SPACE))
    while True:
        pairs = [(score[a + b], -i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in score]
        if not pairs:
            break
        i = -max(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    bytewise = [[part] if part in score else [f"<0x{byte:02X}>" for byte in part.encode()] for part in parts]
    return [number[token] for tokens in bytewise for token in tokens]


@pytest.mark.parametrize("prefix", [True, False], ids=["llama", "gemma"])
def test_bpe_equals_llama_cpp(tmp_path: Path, pieces: tuple[list[str], list[float]], prefix: bool) -> None:
    """Special tokens, bytes, spaces and what follows them: with other tokens the model is silently worse."""
    vocabulary = v.vocabulary(*pieces, MARKS if prefix else {**MARKS, **SPACES})
    path = v.write(tmp_path / "v.gguf", "llama", vocabulary, add_space_prefix=prefix)
    ours, theirs = encoder(path), llama_cpp(path)
    if not prefix:  # llama.cpp's conversion writes these tokens with plain spaces: otherwise they never match
        plain = {**vocabulary, "tokens": [t.replace(v.SPACE, " ") if t in SPACES else t for t in vocabulary["tokens"]]}
        theirs = llama_cpp(v.write(tmp_path / "plain.gguf", "llama", plain, add_space_prefix=prefix))
    for text in [*v.TEXTS, *random_texts(500)]:
        assert ours(text) == theirs(text), repr(text)


def test_merges_derived_from_scores_equal_merging_by_score(
    tmp_path: Path, pieces: tuple[list[str], list[float]]
) -> None:
    vocabulary = v.vocabulary(*pieces)
    ours = encoder(v.write(tmp_path / "v.gguf", "llama", vocabulary, add_space_prefix=False))
    used = set()
    for text in [*v.TEXTS, *random_texts(200), *v.corpus()[:60]]:
        if "<s>" not in text and "<unk>" not in text:
            assert ours(text) == greedy(vocabulary, text), repr(text)
            used |= set(ours(text))
    tab = vocabulary["tokens"].index("\t\t")
    assert tab in used, "two tabs are one token though a single one has only its byte"
    assert any(vocabulary["types"][number] == v.BYTE for number in used)


def test_bpe_equals_transformers_gemma(tmp_path: Path, pieces: tuple[list[str], list[float]]) -> None:
    """transformers needs no .model file here. It never makes a tab part of a token, so texts with one are skipped."""
    from transformers import GemmaTokenizer
    from transformers.tokenization_utils_base import generate_merges

    vocabulary = v.vocabulary(*pieces, MARKS)
    ours = encoder(v.write(tmp_path / "v.gguf", "llama", vocabulary, add_space_prefix=False))
    numbers = {token: number for number, token in enumerate(vocabulary["tokens"])}
    scores = dict(zip(*pieces, strict=True))
    theirs = GemmaTokenizer(vocab=numbers, merges=generate_merges(numbers, scores), bos_token="<s>", eos_token="</s>")
    theirs.add_tokens(list(MARKS))
    for text in [*v.TEXTS, *random_texts(200)]:
        if "\t" not in text:
            assert ours(text) == theirs.encode(text, add_special_tokens=False), repr(text)


@pytest.mark.parametrize("prefix", [True, False])
def test_bpe_text_round_trips(tmp_path: Path, pieces: tuple[list[str], list[float]], prefix: bool) -> None:
    """Also in a stream, where the bytes of a character arrive token by token."""
    path = v.write(tmp_path / "v.gguf", "llama", v.vocabulary(*pieces, MARKS), add_space_prefix=prefix)
    tokenizer = read(path)
    for text in [*v.TEXTS, *random_texts(100)]:
        if "<" in text or v.SPACE in text:  # after a special token a prefix is text; SentencePiece's space is a space
            continue
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        if not prefix:
            stream = tokenizer.stream()
            assert "".join([stream.push(number) for number in ids]) + stream.end() == text


def test_files_without_scores_merge_in_the_order_of_tokens(
    tmp_path: Path, pieces: tuple[list[str], list[float]]
) -> None:
    """Conversions from a tokenizer.json score every token -1000; merging by that would tear every text apart."""
    scored = v.vocabulary(*pieces)
    ours = encoder(v.write(tmp_path / "scored.gguf", "llama", scored))
    flat = {**scored, "scores": [-1000.0] * len(scored["scores"])}
    without = encoder(v.write(tmp_path / "flat.gguf", "llama", flat))
    for text in v.TEXTS:
        assert ours(text) == without(text)


def test_defaults_of_old_files(tmp_path: Path, pieces: tuple[list[str], list[float]]) -> None:
    """Files older than the keys: BOS and a space come first, as in llama.cpp."""
    from tokenizers import Tokenizer as Backend

    path = v.write(tmp_path / "v.gguf", "llama", v.vocabulary(*pieces))
    files = tokenizer_from_gguf(GgufReader(path).metadata, "v.gguf")
    assert json.loads(files["tokenizer_config.json"])["bos_token"] == "<s>"
    assert json.loads(files["generation_config.json"]) == {"bos_token_id": 1, "eos_token_id": 2}
    encoded = Backend.from_str(files["tokenizer.json"].decode()).encode("a")
    assert encoded.tokens[0] == "<s>"
    assert encoded.tokens[1].startswith(v.SPACE)
    tokenizer = Tokenizer.from_files(files)
    assert (tokenizer.bos_id, tokenizer.eos_ids) == (1, (2,))


@pytest.mark.parametrize("prefix", [True, False])
def test_the_files_load_in_transformers(tmp_path: Path, pieces: tuple[list[str], list[float]], prefix: bool) -> None:
    """A package's tokenizer files must also work in transformers, the usual library."""
    from transformers import AutoTokenizer

    path = v.write(tmp_path / "v.gguf", "llama", v.vocabulary(*pieces, MARKS), add_space_prefix=prefix)
    for name, content in tokenizer_from_gguf(GgufReader(path).metadata, "v.gguf").items():
        (tmp_path / name).write_bytes(content)
    ours, theirs = read(path), AutoTokenizer.from_pretrained(tmp_path)
    for text in v.TEXTS:
        ids = theirs.encode(text)
        assert ids == [1, *ours.encode(text, add_special_tokens=False)], repr(text)
        assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)


def test_the_end_of_a_turn_ends_generation(tmp_path: Path, pieces: tuple[list[str], list[float]]) -> None:
    """Gemma's files declare only <eos>, but the model ends turns with another token: it would never stop."""
    vocabulary = v.vocabulary(*pieces, {"<end_of_turn>": v.USER_DEFINED})
    tokenizer = read(v.write(tmp_path / "v.gguf", "llama", vocabulary))
    turn = vocabulary["tokens"].index("<end_of_turn>")
    assert tokenizer.eos_ids == (2, turn)
    assert tokenizer.decode([turn]) == "", "it is no text"


def test_phi3_drops_white_space_after_turn_tokens(tmp_path: Path, pieces: tuple[list[str], list[float]]) -> None:
    """As in training, a line break after <|user|> is not a token of the prompt."""
    vocabulary = v.vocabulary(*pieces, {"<|user|>": v.CONTROL})
    phi3 = encoder(v.write(tmp_path / "phi3.gguf", "llama", vocabulary, architecture="phi3", name="Phi-3 mini"))
    llama = encoder(v.write(tmp_path / "llama.gguf", "llama", vocabulary))
    assert phi3("<|user|>\n Hello<s> a") == phi3("<|user|>Hello<s> a")
    assert phi3("<|user|>\n Hello<s> a") != phi3("<|user|>\n Hello<s>a"), "after <s> white space stays"
    assert llama("<|user|>\nHello") != llama("<|user|>Hello")


# --- Unigram ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def unigram() -> dict[str, Any]:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(v.corpus(), trainers.UnigramTrainer(vocab_size=500, show_progress=False))
    # Models have no token for NUL, at which llama.cpp ends a token's text.
    found = [(t, score) for t, score in json.loads(tokenizer.to_str())["model"]["vocab"] if "\0" not in t]
    head = {"<pad>": v.CONTROL, "</s>": v.CONTROL, "<unk>": v.UNKNOWN, **MARKS}
    return {
        "tokens": [*head, *(token for token, _ in found)],
        "types": [*head.values(), *[v.NORMAL] * len(found)],
        "scores": [*[0.0] * len(head), *(score for _, score in found)],
    }


@pytest.mark.parametrize("mapped", [False, True], ids=["", "charsmap"])
@pytest.mark.parametrize("merged", [False, True], ids=["all spaces", "merged spaces"])
def test_unigram_equals_llama_cpp(tmp_path: Path, unigram: dict[str, Any], mapped: bool, merged: bool) -> None:
    table = charsmap({"ﬁ": "fi", "Ａ": "A", "\u3000": " ", "\t": " ", "½": "1/2"})
    keys: dict[str, Any] = {"add_space_prefix": True, "remove_extra_whitespaces": merged}
    keys |= {"precompiled_charsmap": table} if mapped else {}
    path = v.write(tmp_path / "v.gguf", "t5", unigram, **keys)
    ours, theirs = encoder(path), llama_cpp(path)
    texts = [*v.TEXTS, "ﬁnd Ａ\u3000b\tc ½", *random_texts(200)]
    for text in texts:
        # llama.cpp does not put a prefix before a text of spaces alone; SentencePiece does.
        if text.strip(" \t") and "> <" not in text:
            assert ours(text) == theirs(text), repr(text)
    assert (ours("ﬁnd Ａ") == ours("find A")) == mapped


def test_unigram_text_round_trips_and_ends_with_eos(tmp_path: Path, unigram: dict[str, Any]) -> None:
    from tokenizers import Tokenizer as Backend

    path = v.write(tmp_path / "v.gguf", "t5", unigram, add_space_prefix=True)
    files = tokenizer_from_gguf(GgufReader(path).metadata, "v.gguf")
    tokenizer = Tokenizer.from_files(files)
    assert (
        tokenizer.decode(tokenizer.encode("Hello,  world: the text", add_special_tokens=False))
        == "Hello,  world: the text"
    )
    assert Backend.from_str(files["tokenizer.json"].decode()).encode("a").tokens[-1] == "</s>"


@pytest.mark.parametrize("model", ["llama", "t5"])
def test_damage_is_named(tmp_path: Path, pieces: tuple[list[str], list[float]], model: str) -> None:
    vocabulary = v.vocabulary(*pieces)
    short = GgufReader(v.write(tmp_path / "v.gguf", model, {**vocabulary, "scores": [0.0]})).metadata
    with pytest.raises(CheckpointError, match=r"v\.gguf: the tokenizer in the metadata is damaged .* 1 scores"):
        tokenizer_from_gguf(short, "v.gguf")
    twice = {**vocabulary, "tokens": [*vocabulary["tokens"][:-1], "<s>"]}
    metadata = GgufReader(v.write(tmp_path / "v.gguf", model, twice)).metadata
    with pytest.raises(CheckpointError, match=r"damaged .token '<s>' is in it twice"):
        tokenizer_from_gguf(metadata, "v.gguf")


def test_a_damaged_charsmap_is_named(tmp_path: Path, unigram: dict[str, Any]) -> None:
    path = v.write(tmp_path / "v.gguf", "t5", unigram, precompiled_charsmap=b"\xff\xff\xff\x7f12")
    with pytest.raises(CheckpointError, match=r"v\.gguf: the tokenizer in the metadata is damaged"):
        tokenizer_from_gguf(GgufReader(path).metadata, "v.gguf")


@pytest.mark.parametrize("model", ["gpt2", "llama", "t5"])
def test_nonsense_in_the_metadata_never_ends_in_a_traceback(
    tmp_path: Path, pieces: tuple[list[str], list[float]], model: str
) -> None:
    """A damaged file may contain anything anywhere."""
    path = v.write(tmp_path / "v.gguf", model, v.vocabulary(*pieces), token_merges=["a b"], bos_token_id=1)
    sound = {**GgufReader(path).metadata, "tokenizer.ggml.pre": "gpt-2"}
    refused = 0
    for key in [
        *sound,
        "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.precompiled_charsmap",
        "tokenizer.chat_template",
    ]:
        for nonsense in (None, -1, 2**31, 0.5, True, "x", [], [[]], ["x"], [None], [1e9]):
            try:
                tokenizer_from_gguf({**sound, key: nonsense}, "v.gguf")
            except EdgeswError as error:
                refused += 1
                assert str(error).startswith("v.gguf: ") and "\n" not in str(error)
    assert refused > 20
