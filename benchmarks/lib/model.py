"""A model to measure: opened, cut into windows, and described in a line."""

from __future__ import annotations

import numpy as np

from benchmarks.lib.arguments import WINDOW_TOKENS
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.text.texts import Text, windows
from edgesw.text.tokenizer import Tokenizer


def open_model(name: str) -> tuple[Checkpoint, Tokenizer]:
    """The checkpoint and its tokenizer. EdgeswError for a model that cannot be opened."""
    checkpoint = open_checkpoint(name)
    return checkpoint, Tokenizer.from_files(checkpoint.tokenizer_files(), name)


def windows_of(text: Text, checkpoint: Checkpoint, tokenizer: Tokenizer, count: int) -> np.ndarray:
    """Token ids (windows, tokens) of a text, as long as the model allows, up to `WINDOW_TOKENS`."""
    return windows(text, tokenizer, count, min(WINDOW_TOKENS, checkpoint.spec.max_positions))


def described(model: str, checkpoint: Checkpoint, text: str, ids: np.ndarray) -> str:
    """What was measured on what."""
    return f"{model} ({checkpoint.source.origin}) on {text}: {len(ids)} windows of {ids.shape[1]} tokens."
