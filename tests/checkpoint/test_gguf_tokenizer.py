"""The tokenizer of a GGUF: the one the model was trained with, byte for byte, not a near one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgesw.checkpoint.gguf_tokenizer import tokenizer_from_gguf
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError
from edgesw.tokenizer import Tokenizer

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


def tokenizer(**changes: Any) -> Tokenizer:
    return Tokenizer.from_files(tokenizer_from_gguf(metadata(**changes), "m.gguf"))


def pieces(text: str, pre: str) -> list[str]:
    made = tokenizer(pre=pre)
    return [made.decode([number], special=True) for number in made.encode(text, bos=False)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "llama-bpe", "qwen2"])
def test_no_byte_is_lost(text: str, pre: str) -> None:
    made = tokenizer(pre=pre)
    assert made.decode(made.encode(text, bos=False), special=True) == text


def test_numbers_are_cut_as_each_model_learned_them() -> None:
    assert pieces("ab 1234", "gpt-2") == ["ab", " ", "123", "4"]
    assert pieces("ab 1234", "smollm") == ["ab", " ", "1", "2", "3", "4"], "digits must stand alone"
    assert pieces("ab 1234", "llama-bpe") == ["ab", " ", "123", "4"]
    assert pieces("ab 1234", "qwen2") == ["ab", " ", "1", "2", "3", "4"]


@pytest.mark.parametrize(("pre", "module"), [("qwen2", "qwen2"), ("llama-bpe", None)])
def test_patterns_are_those_transformers_uses(pre: str, module: str | None) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    made = json.loads(tokenizer_from_gguf(metadata(pre=pre), "m.gguf")["tokenizer.json"])
    assert made["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] == GGUF_PRE_TOKENIZER_SPLITS[pre]


def test_control_and_user_defined_tokens_stay_whole() -> None:
    made = tokenizer()
    ids = made.encode("ab<|end|><think>ab", bos=False)
    assert ids[1:3] == [0, 1]
    assert made.eos_ids == (0,)
    assert made.bos_id is None
    assert made.decode(ids) == "ab<think>ab", "a control token is no text, a user-defined one is"


def test_template_and_bos_go_into_the_files() -> None:
    """Other programs read tokenizer.json too, and must put BOS where the GGUF says."""
    from tokenizers import Tokenizer as Backend

    changes = {"tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.add_bos_token": True}
    changes["tokenizer.chat_template"] = "{{ 1 }}"
    files = tokenizer_from_gguf(metadata(**changes), "m.gguf")
    assert files["chat_template.jinja"] == b"{{ 1 }}"
    assert json.loads(files["tokenizer_config.json"])["chat_template"]
    assert Backend.from_str(files["tokenizer.json"].decode()).encode("ab").ids[0] == 0
    assert json.loads(files["generation_config.json"]) == {"bos_token_id": 0, "eos_token_id": 0}


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"tokenizer.ggml.model": "llama"}, UnsupportedError, "tokenizer model 'llama' is not supported"),
        ({"tokenizer.ggml.model": None}, UnsupportedError, "tokenizer model 'None'"),
        ({"pre": "tekken"}, UnsupportedError, "pre-tokenizer 'tekken' is not supported.*'smollm'"),
        ({"tokenizer.ggml.tokens": None}, CheckpointError, "no 'tokenizer.ggml.tokens'"),
        ({"tokenizer.ggml.merges": ["x yz"]}, CheckpointError, "damaged"),
        ({"tokenizer.ggml.token_type": [1]}, CheckpointError, "damaged"),
        ({"tokenizer.ggml.eos_token_id": 10**6}, CheckpointError, "'tokenizer.ggml.eos_token_id' is 1000000"),
    ],
)
def test_what_we_cannot_read_is_named(changes: dict[str, Any], kind: type[EdgeswError], said: str) -> None:
    with pytest.raises(kind, match=f"m.gguf: .*{said}") as error:
        tokenizer_from_gguf(metadata(**changes), "m.gguf")
    assert "\n" not in str(error.value)
