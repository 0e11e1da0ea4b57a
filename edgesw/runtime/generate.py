"""Greedy generation from a package, token by token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgesw.errors import UsageError
from edgesw.runtime.packaged_decoder import PackagedDecoder


def generate(decoder: PackagedDecoder, prompt: list[int], stop: tuple[int, ...], most: int) -> Iterator[int]:
    """The most likely next tokens after `prompt`, until one of `stop`, `most` tokens or a full context.

    UsageError, before anything is computed, for a prompt that is empty or fills the context.
    """
    if not prompt:
        raise UsageError("the prompt is empty: give at least one token.")
    if len(prompt) >= decoder.context:
        raise UsageError(f"the prompt has {len(prompt)} tokens and the package holds {decoder.context}: shorten it.")
    return _tokens(decoder, prompt, stop, most)


def _tokens(decoder: PackagedDecoder, prompt: list[int], stop: tuple[int, ...], most: int) -> Iterator[int]:
    decoder.reset()
    logits = decoder.prefill(np.array(prompt))
    for left in range(min(most, decoder.context - len(prompt)), 0, -1):
        token = int(logits.argmax())
        if token in stop:
            return
        yield token
        if left > 1:
            logits = decoder.step(np.array([token]))[-1]
