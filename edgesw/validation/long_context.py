"""Long contexts: a package read to the last slot of its cache, against the float model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.errors import UsageError
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import Text
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.float_cache import float_logits
from edgesw.validation.measure import divergence

PARTS = (1 / 4, 1 / 2, 1.0)
# Tokens before each of these that are fed one by one, and over which divergences are averaged: a single position's is
# mostly chance.
DECODED = 16


@dataclass(frozen=True)
class LongContext:
    """Divergences of one target near these positions of one long text."""

    target: str
    positions: tuple[int, ...]
    """Tokens read, the last of them fed one by one."""
    divergences: tuple[float, ...]
    """Mean KL(float || package) over the DECODED positions up to there, nats."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def long_context(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    decoders: dict[str, PackagedDecoder],
    context: int,
    progress: Callable[[int], None],
) -> tuple[LongContext, ...]:
    """Feeds each decoder one text of `context` tokens: long pieces as a prompt, and before each of PARTS single tokens,
    to the last slot of its cache. The float model reads it in one streamed pass.

    UsageError for texts that are shorter than the context together.
    """
    ids = long_ids(tokenizer, texts, context)
    ends = [max(DECODED + 1, round(part * context)) for part in PARTS]
    exact = _float_logits(checkpoint, ids, ends, progress)
    found = []
    for target, decoder in decoders.items():
        decoder.reset()
        done, divergences = 0, []
        for end, logits in zip(ends, exact, strict=True):
            if end - DECODED > done:
                decoder.prefill(ids[done : end - DECODED])
            ours = np.concatenate([decoder.step(ids[at : at + 1]) for at in range(max(done, end - DECODED), end)])
            divergences.append(divergence(logits[-len(ours) :], torch.from_numpy(ours)))
            done = end
        found.append(LongContext(target, tuple(ends), tuple(divergences)))
    return tuple(found)


def long_ids(tokenizer: Tokenizer, texts: Sequence[Text], context: int) -> np.ndarray:
    """`context` tokens of the texts one after the other, int64 (context,), beginning as the tokenizer begins a text."""
    ids = [*tokenizer.prefix_ids]
    for text in texts:
        if len(ids) < context:
            ids += tokenizer.encode(text.content, add_special_tokens=False)
    if len(ids) < context:
        raise UsageError(
            f"the text has {len(ids)} tokens and the package holds {context}: give one at least as long with --text."
        )
    return np.array(ids[:context], np.int64)


def _float_logits(
    checkpoint: Checkpoint, ids: np.ndarray, ends: Sequence[int], progress: Callable[[int], None]
) -> list[torch.Tensor]:
    """Logits of the float model at the DECODED positions up to each of `ends`."""
    hidden = float_logits(checkpoint, ids[None], progress).hidden[0]
    picked = torch.cat([hidden[end - DECODED : end] for end in ends])
    logits = next(iter(FloatLogits(checkpoint.spec, checkpoint, ids[None], hidden=picked[None])))
    return list(torch.from_numpy(logits).split(DECODED))
