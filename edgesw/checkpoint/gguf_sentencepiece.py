"""Builds SentencePiece tokenizers from the metadata of a GGUF file: BPE ('llama') and Unigram ('t5')."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgesw.checkpoint.gguf_vocabulary import Kind, Vocabulary
from edgesw.text.charsmap import check_charsmap

_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes a space
_MERGED = (Kind.NORMAL, Kind.UNUSED, Kind.UNDEFINED)  # tokens of other kinds never result from merging


def bpe(vocabulary: Vocabulary, prefix: bool) -> Any:
    """A tokenizers.Tokenizer without special tokens, its merges derived from the scores.

    Spaces are written as SentencePiece writes them; with `prefix`, one is added in front of a text and of each piece
    of text after a special token. What no token covers becomes bytes. Raises what the tokenizers library raises.
    """
    from tokenizers import Tokenizer, models

    vocabulary = spelled(vocabulary)
    numbers = {token: number for number, token in enumerate(vocabulary.tokens)}
    bytes_known = Kind.BYTE in vocabulary.kinds
    unknown = next(iter(vocabulary.of_kind(Kind.UNKNOWN)), None)
    model = models.BPE(
        vocab=numbers, merges=merges(vocabulary), unk_token=unknown, fuse_unk=True, byte_fallback=bytes_known
    )
    return _with_spaces(Tokenizer(model), [], prefix)


def unigram(vocabulary: Vocabulary, prefix: bool, merge_spaces: bool, charsmap: bytes) -> Any:
    """A tokenizers.Tokenizer without special tokens that chooses the likeliest tokens by their scores.

    `charsmap` is SentencePiece's table of characters to replace; `merge_spaces` strips spaces at both ends and merges
    several into one; `prefix` is that of `bpe`. Raises what the tokenizers library raises, and ValueError for a
    damaged table.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers

    if charsmap:
        check_charsmap(charsmap)
    vocabulary = spelled(vocabulary)
    pairs = list(zip(vocabulary.tokens, vocabulary.scores, strict=True))
    unknown = vocabulary.kinds.index(Kind.UNKNOWN) if Kind.UNKNOWN in vocabulary.kinds else None
    model = models.Unigram(pairs, unk_id=unknown, byte_fallback=Kind.BYTE in vocabulary.kinds)
    steps: list[Any] = [normalizers.Precompiled(charsmap)] if charsmap else []
    if merge_spaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    return _with_spaces(Tokenizer(model), steps, prefix)


def spelled(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary as the tokenizers library needs it; no token changes its number.

    User-defined tokens are matched in the raw text, so their spaces become plain ones. An ASCII character that is part
    of other tokens but whose only own token is its byte's (the tab, in Gemma) replaces that byte token: SentencePiece
    merges characters, the library only tokens.
    """
    needed = {character for token in vocabulary.of_kind(*_MERGED) for character in token if character < "\x80"}
    needed -= set(vocabulary.tokens)
    plain = {f"<0x{ord(character):02X}>": character for character in needed}
    kinds, tokens = list(vocabulary.kinds), list(vocabulary.tokens)
    for number, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True)):
        if kind == Kind.USER_DEFINED:
            tokens[number] = token.replace(_SPACE, " ")
        elif kind == Kind.BYTE and token in plain:
            tokens[number], kinds[number] = plain[token], Kind.NORMAL
    return replace(vocabulary, tokens=tuple(tokens), kinds=tuple(kinds))


def merges(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Every pair of tokens whose concatenation is a token, best first.

    SentencePiece's BPE repeatedly merges the neighbours that form the token with the highest score, the leftmost where
    several do (Kudo and Richardson, arXiv 1808.06226, and its bpe_model.cc). Files converted without scores give all
    tokens the same one; the order of the tokens, which is that of training, then takes its place.
    """
    rank = {
        token: (-score, number)
        for number, (token, kind, score) in enumerate(
            zip(vocabulary.tokens, vocabulary.kinds, vocabulary.scores, strict=True)
        )
        if kind in _MERGED
    }
    cuts = [
        (token, cut) for token in rank for cut in range(1, len(token)) if token[:cut] in rank and token[cut:] in rank
    ]
    # Pairs that form the same token need an order too: leftmost merging mostly meets the longest left part.
    cuts.sort(key=lambda pair: (rank[pair[0]], -pair[1]))
    return [(token[:cut], token[cut:]) for token, cut in cuts]


def _with_spaces(tokenizer: Any, steps: list[Any], prefix: bool) -> Any:
    """Adds the conversion of spaces to SentencePiece's, after `steps`, and, for decoding, back."""
    from tokenizers import decoders, normalizers

    first = [normalizers.Prepend(_SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, *first, normalizers.Replace(" ", _SPACE)])
    last = [decoders.Strip(" ", 1, 0)] if prefix else []
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*back, *last])
    return tokenizer
