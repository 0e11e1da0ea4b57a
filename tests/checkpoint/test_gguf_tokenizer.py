"""The tokenizer of a GGUF gives exactly the tokens of the model's training."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from vocabularies import corpus

from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_bpe import PRE_TOKENIZERS
from edgesw.checkpoint.gguf_tokenizer import tokenizer_from_gguf
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError
from edgesw.text.tokenizer import Tokenizer

TEXTS = [
    "Hello, world!  Two  spaces,\ttabs\n\n\nand lines.\r\n",
    "In 1234 and 5,678.90 or v2.0: 3.14e-10 ٣٤٥ Ⅷ ½ ²",
    "def f(x):\n    return {'a': [1, 2]}  # don't I'll we've DON'T\n",
    "日本語のテキスト、中文 한국어 العربية עברית हिन्दी ภาษาไทย ελληνικά русский",
    "👩‍👩‍👧‍👦 🎉 🇩🇪 ﷽ ünïcödé \u00a0nbsp\u2003em ",
    "<|im_start|>user\nhi <|im_end|>\n<|endoftext|> <|im_start",
    " ",
    "",
]


def metadata(pre: str = "gpt-2", **changes: Any) -> dict[str, Any]:
    """A tokenizer of single bytes, a few merges, one control and one user-defined token."""
    alphabet = sorted(__import__("tokenizers").pre_tokenizers.ByteLevel.alphabet())
    merges = ["a b", "Ġ a", "1 2", "12 3"]
    tokens = ["<|end|>", "<think>", *alphabet, *(merge.replace(" ", "") for merge in merges)]
    base = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3, 4] + [1] * (len(tokens) - 2),
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.eos_token_id": 0,
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def from_gguf(**changes: Any) -> Tokenizer:
    return Tokenizer.from_files(tokenizer_from_gguf(metadata(**changes), "m.gguf"))


def pieces(text: str, pre: str) -> list[str]:
    made = from_gguf(pre=pre)
    return [made.decode([number], special=True) for number in made.encode(text, add_special_tokens=False)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_no_byte_is_lost(text: str, pre: str) -> None:
    made = from_gguf(pre=pre)
    assert made.decode(made.encode(text, add_special_tokens=False), special=True) == text


def test_numbers_are_split_as_in_each_models_training() -> None:
    assert pieces("ab 1234", "gpt-2") == ["ab", " ", "123", "4"]
    assert pieces("ab 1234", "smollm") == ["ab", " ", "1", "2", "3", "4"], "digits must stand alone"
    assert pieces("ab 1234", "llama-bpe") == ["ab", " ", "123", "4"]
    assert pieces("ab 1234", "qwen2") == ["ab", " ", "1", "2", "3", "4"]


@pytest.mark.parametrize("pre", ["llama-bpe", "dbrx", "qwen2", "qwen35", "tekken", "gpt-4o"])
def test_patterns_are_those_transformers_uses(pre: str) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    made = json.loads(tokenizer_from_gguf(metadata(pre=pre), "m.gguf")["tokenizer.json"])
    assert made["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] == GGUF_PRE_TOKENIZER_SPLITS[pre]


@pytest.fixture(scope="module")
def trained() -> tuple[list[str], list[str]]:
    """Tokens and merges learned with little pre-splitting, so that the tokens show how a text is split."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([*corpus(), *TEXTS * 5], trainer)
    model = json.loads(backend.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [" ".join(merge) for merge in model["merges"]]


@pytest.mark.parametrize("pre", sorted(PRE_TOKENIZERS))
def test_words_are_split_as_in_llama_cpp(tmp_path: Path, trained: tuple[list[str], list[str]], pre: str) -> None:
    """A text that is split differently than in training becomes different tokens.

    llama.cpp does not compose characters, and where words are split by case, combining marks do not belong to them as
    they do in the models' own patterns; such texts are skipped.
    """
    llama_cpp = pytest.importorskip("llama_cpp")
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(trained[0])
    writer.add_token_merges(trained[1])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ours = Tokenizer.from_files(tokenizer_from_gguf(GgufReader(tmp_path / "v.gguf").metadata, "v.gguf"))
    theirs = llama_cpp.Llama(str(tmp_path / "v.gguf"), vocab_only=True, verbose=False)
    texts = [*TEXTS, *corpus()[:40], "camelCase HTTPServer XMLHttpRequest x/y/z\n//\n", "wordsAndMore  12345 don'T"]
    if pre in ("tekken", "gpt-4o", "llama4"):
        texts = [text for text in texts if not any(unicodedata.category(c).startswith("M") for c in text)]
    for text in texts:
        assert ours.encode(text, add_special_tokens=False) == theirs.tokenize(
            text.encode(), add_bos=False, special=True
        ), repr(text)


def test_qwen_composes_characters() -> None:
    """A letter and a separate accent are one character to the model, as in its own tokenizer."""
    assert from_gguf(pre="qwen2").encode("u\u0308", add_special_tokens=False) == from_gguf(pre="qwen2").encode(
        "ü", add_special_tokens=False
    )
    assert from_gguf(pre="llama-bpe").encode("u\u0308", add_special_tokens=False) != from_gguf(pre="llama-bpe").encode(
        "ü", add_special_tokens=False
    )


def test_a_word_in_the_vocabulary_becomes_that_token() -> None:
    """Llama 3 has tokens that no merge produces; without them its prompts differ from its training."""
    tokens = [*metadata()["tokenizer.ggml.tokens"], "zebra"]
    changes = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": None}
    zebra = len(tokens) - 1
    assert from_gguf(pre="llama-bpe", **changes).encode("zebra", add_special_tokens=False) == [zebra]
    assert zebra not in from_gguf(pre="dbrx", **changes).encode("zebra", add_special_tokens=False)


def test_control_and_user_defined_tokens_stay_whole() -> None:
    made = from_gguf()
    ids = made.encode("ab<|end|><think>ab", add_special_tokens=False)
    assert ids[1:3] == [0, 1]
    assert made.eos_ids == (0,)
    assert made.bos_id is None
    assert made.decode(ids) == "ab<think>ab", "a control token is no text, a user-defined one is"


def test_template_and_bos_go_into_the_files() -> None:
    """Other programs read tokenizer.json too, and must add BOS where the GGUF says."""
    from tokenizers import Tokenizer as Backend

    changes = {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": True}
    changes["tokenizer.chat_template"] = "{{ 1 }}"
    files = tokenizer_from_gguf(metadata(**changes), "m.gguf")
    assert files["chat_template.jinja"] == b"{{ 1 }}"
    assert json.loads(files["tokenizer_config.json"])["chat_template"]
    assert Backend.from_str(files["tokenizer.json"].decode()).encode("ab").ids[0] == 0
    assert json.loads(files["generation_config.json"]) == {"bos_token_id": 0, "eos_token_id": 0}


ADD_BOS, ADD_EOS = "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"


@pytest.mark.parametrize(
    ("pre", "changes", "around"),
    [
        ("gpt-2", {}, ((), ())),
        ("qwen2", {}, ((), ())),
        ("smollm", {}, ((), ())),
        ("llama-bpe", {}, ((0,), ())),
        ("tekken", {}, ((0,), ())),
        ("llama-bpe", {ADD_BOS: False}, ((), ())),
        ("gpt-2", {ADD_BOS: True}, ((0,), ())),
        ("gpt-2", {ADD_EOS: True}, ((), (0,))),
        ("llama-bpe", {ADD_EOS: True}, ((0,), (0,))),
        ("llama-bpe", {"tokenizer.ggml.bos_token_id": None}, ((), ())),
        ("gpt-2", {"tokenizer.ggml.padding_token_id": 5, "tokenizer.ggml.unknown_token_id": 6}, ((), ())),
    ],
)
def test_what_is_around_a_text_is_llama_cpps_rule_in_every_client(
    pre: str, changes: dict[str, Any], around: tuple[tuple[int, ...], tuple[int, ...]], tmp_path: Path
) -> None:
    """Without the key the tokenizer's kind decides (llama-vocab.cpp). Old files name ordinary tokens for padding: as a
    special token, that letter would be split from its word in every text."""
    from transformers import AutoTokenizer

    files = tokenizer_from_gguf(metadata(pre, **{"tokenizer.ggml.bos_token_id": 0, **changes}), "m.gguf")
    made = Tokenizer.from_files(files)
    assert (made.prefix_ids, made.suffix_ids) == around
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    for text in TEXTS:
        for add in (True, False):
            ids = theirs(text, add_special_tokens=add)["input_ids"]
            assert made.encode(text, add_special_tokens=add) == ids, repr(text)


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"tokenizer.ggml.model": "bert"}, UnsupportedError, "tokenizer model 'bert' is not supported.*'t5'"),
        ({"tokenizer.ggml.model": None}, UnsupportedError, "tokenizer model 'None'"),
        ({"pre": "viking"}, UnsupportedError, "pre-tokenizer 'viking' is not supported.*'smollm'"),
        ({"tokenizer.ggml.tokens": None}, CheckpointError, "no 'tokenizer.ggml.tokens'"),
        ({"tokenizer.ggml.merges": ["x yz"]}, CheckpointError, "damaged"),
        ({"tokenizer.ggml.token_type": [1]}, CheckpointError, "damaged"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, CheckpointError, "'tokenizer.ggml.eos_token_id' is 1000000"),
    ],
)
def test_what_cannot_be_read_is_named(changes: dict[str, Any], kind: type[EdgeswError], said: str) -> None:
    with pytest.raises(kind, match=f"m.gguf: .*{said}") as error:
        tokenizer_from_gguf(metadata(**changes), "m.gguf")
    assert "\n" not in str(error.value)
