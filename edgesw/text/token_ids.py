"""check_ids: whether a model has an embedding for the tokens of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgesw.errors import EdgeswError, UsageError
from edgesw.text.tokenizer import Tokenizer


def check_ids(
    ids: np.ndarray | Sequence[int], vocab_size: int, tokenizer: Tokenizer, where: str, error: type[EdgeswError]
) -> None:
    """Raises `error`, which names the token, for an id that a model of this many tokens has no row for. Some runtimes
    fail at such an id, and others answer nonsense.

    A tokenizer may have more tokens than the model, as long as they do not occur in the text. `where` they do is what
    the message says first. UsageError is for a text or ids that the user gave, which can do without the token.
    """
    every = np.asarray(ids, np.int64).reshape(-1)
    beyond = every[(every < 0) | (every >= vocab_size)]
    if not len(beyond):
        return
    text = tokenizer.token(int(beyond[0]))
    named = f"token id {beyond[0]}" if text is None else f"the token '{text}' (id {beyond[0]})"
    only = f"but the model has only {vocab_size} tokens"
    if issubclass(error, UsageError):
        raise error(f"{where} has {named}, {only}: leave it out.")
    raise error(f"{where}: the tokenizer gives {named}, {only}: they do not match, so {error.again}.")
