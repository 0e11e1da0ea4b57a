"""Builds byte-level BPE tokenizers from the metadata of a GGUF file: tokenizer model 'gpt2'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgesw.checkpoint.gguf_vocabulary import Vocabulary

_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_QWEN2 = rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _by_case(contraction: str, digits: str) -> str:
    """A pattern by which words end before an upper-case letter that follows a lower-case one."""
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    before = r"[^\r\n\p{L}\p{N}]?"
    words = f"{before}{upper}*{lower}+{contraction}|{before}{upper}+{lower}*{contraction}"
    return rf"{words}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"


@dataclass(frozen=True)
class PreTokenizer:
    """How a text is split into words before tokens are merged."""

    pattern: str | None = None
    """A regular expression; None for GPT-2's, which is the ByteLevel of the tokenizers library."""
    digits_apart: bool = False
    """Whether each digit is a word."""
    compose: bool = False
    """Whether characters are composed first (Unicode NFC), as in the models' own tokenizers; llama.cpp does not."""
    whole_words: bool = False
    """Whether a word that is in the vocabulary becomes that token, without merging."""
    bos: bool = False
    """Whether a text begins with BOS if the file does not say."""


# By `tokenizer.ggml.pre`. The patterns are those of the models' own tokenizer.json; the names, and the last two
# switches, are llama.cpp's (llama-vocab.cpp).
_LLAMA3_WORDS = PreTokenizer(_LLAMA3, whole_words=True, bos=True)
PRE_TOKENIZERS = {
    "gpt-2": PreTokenizer(),
    "olmo": PreTokenizer(compose=True),
    "smollm": PreTokenizer(digits_apart=True),
    "starcoder": PreTokenizer(digits_apart=True),
    "refact": PreTokenizer(digits_apart=True),
    "llama-bpe": _LLAMA3_WORDS,
    "llama3": _LLAMA3_WORDS,
    "llama-v3": _LLAMA3_WORDS,
    "dbrx": PreTokenizer(_LLAMA3),
    "smaug-bpe": PreTokenizer(_LLAMA3),
    "qwen2": PreTokenizer(_QWEN2, compose=True),
    "deepseek-r1-qwen": PreTokenizer(_QWEN2),
    "qwen35": PreTokenizer(_QWEN35, compose=True),
    "tekken": PreTokenizer(_by_case("", r"\p{N}"), whole_words=True, bos=True),
    "gpt-4o": PreTokenizer(_by_case(rf"{_CONTRACTION}?", r"\p{N}{1,3}")),
    "llama4": PreTokenizer(_by_case(rf"{_CONTRACTION}?", r"\p{N}{1,3}")),
}


def byte_level_bpe(vocabulary: Vocabulary, merges: Sequence[str], pre: PreTokenizer) -> Any:
    """A tokenizers.Tokenizer without special tokens. A merge is "left right". Raises what the library raises."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    parts = (merge.partition(" ") for merge in merges)
    pairs = [(left, right) for left, _, right in parts]
    tokenizer = Tokenizer(models.BPE(vocab=numbers, merges=pairs, ignore_merges=pre.whole_words))
    if pre.compose:
        tokenizer.normalizer = normalizers.NFC()
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if pre.digits_apart else []
    if pre.pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(pre.pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre.pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
