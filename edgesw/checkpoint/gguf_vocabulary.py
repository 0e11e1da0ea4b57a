"""Reads the vocabulary in the metadata of a GGUF file: tokens, their kinds and scores, and the special ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from edgesw.errors import CheckpointError


class Kind(IntEnum):
    """A token's kind, by its number in `tokenizer.ggml.token_type`."""

    UNDEFINED = 0
    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


# Tokens that end a turn. Many files declare only the token that ends a text, so llama.cpp also goes by the spelling.
_ENDS_OF_TURN = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>")

LONGEST_TOKEN = 4096
"""Characters. Deriving merges takes time quadratic in it; tokens of published models have up to a few hundred."""

# llama.cpp's defaults for files of these tokenizer models.
_SPECIAL_IDS = {
    "llama": {"bos": 1, "eos": 2, "unknown": 0},
    "t5": {"eos": 1, "unknown": 2, "padding": 0},
}


@dataclass(frozen=True)
class Vocabulary:
    """The tokens by number, with their kinds and scores."""

    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    scores: tuple[float, ...]
    """All zero if the file has none."""

    def of_kind(self, *kinds: Kind) -> list[str]:
        """The tokens of these kinds, in the order of their numbers."""
        return [token for token, kind in zip(self.tokens, self.kinds, strict=True) if kind in kinds]


def vocabulary(metadata: Mapping[str, Any], where: str) -> Vocabulary:
    """The vocabulary of a GGUF file. CheckpointError if it is missing or inconsistent."""
    tokens, kinds, scores = (_list(metadata, key) for key in ("tokens", "token_type", "scores"))
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise CheckpointError(f"{where}: the metadata has no 'tokenizer.ggml.tokens': use another file of the model.")
    if (longest := max(map(len, tokens))) > LONGEST_TOKEN:
        raise CheckpointError(
            f"{where}: the tokenizer in the metadata is damaged (a token has {longest} characters): use another file."
        )
    tokens = [token or f"[EMPTY_{number}]" for number, token in enumerate(tokens)]
    kinds, scores = kinds or [int(Kind.NORMAL)] * len(tokens), scores or [0.0] * len(tokens)
    if not len(tokens) == len(kinds) == len(scores):
        counts = f"{len(tokens)} tokens, {len(kinds)} types, {len(scores)} scores"
        raise CheckpointError(f"{where}: the tokenizer in the metadata is damaged ({counts}): download it again.")
    twice = [token for token, count in Counter(tokens).items() if count > 1]
    if twice:
        raise CheckpointError(
            f"{where}: the tokenizer in the metadata is damaged (token {twice[0]!r} is in it twice): use another file."
        )
    ends = {token for token in _ENDS_OF_TURN if token in tokens}
    kinds = [
        Kind.CONTROL if kind == Kind.USER_DEFINED and token in ends else kind
        for token, kind in zip(tokens, kinds, strict=True)
    ]
    return Vocabulary(tuple(tokens), tuple(kinds), tuple(scores))


def special_id(metadata: Mapping[str, Any], name: str) -> int | None:
    """The id of a special token: `name` is bos, eos, eot, unknown or padding. None if the model does not have it."""
    found = metadata.get(f"tokenizer.ggml.{name}_token_id")
    if found is not None:
        return found
    default = _SPECIAL_IDS.get(str(metadata.get("tokenizer.ggml.model")), {}).get(name)
    return default if default is not None and default < len(_list(metadata, "tokens")) else None


def eos_ids(metadata: Mapping[str, Any]) -> int | list[int] | None:
    """The ids of the tokens that end a text or a turn: a single id, a list, or None."""
    ids = [special_id(metadata, "eos"), special_id(metadata, "eot")]
    pairs = enumerate(zip(_list(metadata, "tokens"), _list(metadata, "token_type"), strict=False))
    special = (Kind.CONTROL, Kind.USER_DEFINED)
    ids += [number for number, (token, kind) in pairs if kind in special and token in _ENDS_OF_TURN]
    found: list[int] = []
    for number in ids:
        if number is not None and number not in found:
            found.append(number)
    return found[0] if len(found) == 1 else found or None


def _list(metadata: Mapping[str, Any], name: str) -> list[Any]:
    """An array of the metadata; empty if it is missing."""
    found = metadata.get(f"tokenizer.ggml.{name}")
    return found if isinstance(found, list) else []
