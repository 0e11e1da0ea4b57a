"""What the float model answers: in few streamed passes over all prompts, and cached."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.content_index import content_of
from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.weights import CachedWeights
from edgesw.files.json_file import read_json
from edgesw.runtime.drafted import DraftedDecoder, Over, accepted, all_begin_with, same_tokens
from edgesw.runtime.packed import Group, Kept, PackedOps
from edgesw.runtime.torch import residual_stream
from edgesw.validation import float_cache
from edgesw.validation.task_prompts import Asked

BATCH_TOKENS = 8192
"""How many tokens a streamed pass takes at once, unless a single prompt is longer: it bounds the memory."""
SMALL = 1 << 30
"""The float32 weights of a model, in bytes, that are read once for all passes."""
KEPT = 32
"""How many answers to whole sets are cached: the latest ones."""
VERSION = 1
"""Raised when what the decoder computes changes, so that answers of older versions are not used."""

Answers = list[list[int]]


def float_answers(
    checkpoint: Checkpoint,
    asked: Sequence[Asked],
    drafts: Answers,
    drafter: DraftedDecoder,
    stop: Sequence[int],
    over: Callable[[Asked], Over],
    progress: Callable[[int], None],
) -> Answers:
    """The float model's greedy answer to each item. A package's answers are the first `drafts`; where one is wrong,
    `drafter` goes on from the right token. `progress` receives how many answers are known."""
    # A small model's weights stay in memory: decoding them again would take longer than a pass over a few answers.
    # The same holds for the keys and values of what many prompts begin with.
    small = 4 * checkpoint.spec.parameters() <= SMALL
    weights = CachedWeights(checkpoint, None if small else ("lm_head",))
    texts: Answers = [[] for _ in asked]
    kept: Kept | None = {} if small else None
    begins = _begins(asked)
    waiting = [at for at, one in enumerate(asked) if one.most]
    while waiting:
        progress(len(asked) - len(waiting))
        left: list[int] = []
        for batch in _batches(waiting, asked, texts, drafts):
            likeliest = _pass(checkpoint, weights, batch, asked, texts, drafts, begins, kept)
            for at, tokens in zip(batch, likeliest, strict=True):
                new, ended = accepted(tokens, drafts[at], asked[at].most - len(texts[at]), stop)
                texts[at] += new
                if not ended and len(texts[at]) < asked[at].most and not over(asked[at])(texts[at]):
                    left.append(at)
        waiting = left
        for at in waiting:
            one, known = asked[at], texts[at]
            drafts[at] = drafter.continued(
                [*one.ids, *known], one.most - len(known), stop, (), _after(known, over(one))
            )
    progress(len(asked))
    return texts


def _after(known: list[int], over: Over) -> Over:
    """Whether an answer has ended whose first tokens are `known`."""
    return lambda more: over([*known, *more])


def _batches(waiting: list[int], asked: Sequence[Asked], texts: Answers, drafts: Answers) -> Iterator[list[int]]:
    """The items in batches of at most BATCH_TOKENS, or of one item."""
    batch: list[int] = []
    tokens, group = 0, -1
    for at in waiting:
        own = len(texts[at]) + len(drafts[at])
        more = own + (len(asked[at].ids) if asked[at].group != group else _own_tokens(asked, at))
        if batch and tokens + more > BATCH_TOKENS:
            yield batch
            batch, tokens, more = [], 0, own + len(asked[at].ids)
        batch.append(at)
        tokens, group = tokens + more, asked[at].group
    if batch:
        yield batch


def _own_tokens(asked: Sequence[Asked], at: int) -> int:
    """How many tokens an item has that the one before it has not."""
    return len(asked[at].ids) - (same_tokens(asked[at].ids, asked[at - 1].ids) if at else 0)


def _begins(asked: Sequence[Asked]) -> dict[int, tuple[int, ...]]:
    """What all items of each group begin with. Each keeps a token of its own, which its logits begin at."""
    found = {}
    for group, each in groupby(asked, lambda one: one.group):
        rows = [one.ids[:-1] for one in each]
        found[group] = rows[0][: all_begin_with(rows)] if len(rows) > 1 else ()
    return found


def _pass(
    checkpoint: Checkpoint,
    weights: CachedWeights,
    batch: list[int],
    asked: Sequence[Asked],
    texts: Answers,
    drafts: Answers,
    begins: dict[int, tuple[int, ...]],
    kept: Kept | None,
) -> Iterator[list[int]]:
    """The most likely tokens before each token of a draft and after its last, item by item."""
    groups = []
    for group, members in groupby(batch, lambda at: asked[at].group):
        shared = begins[group]
        rows = [(*asked[at].ids[len(shared) :], *texts[at], *drafts[at]) for at in members]
        groups.append(Group(shared, tuple(rows)))
    ops = PackedOps(checkpoint.spec, weights, groups, kept)
    for x in residual_stream(ops):
        hidden = x
    for at, own in zip(batch, ops.rests, strict=True):
        with torch.inference_mode():
            logits = decoder_head(ops, hidden[0, own.stop - len(drafts[at]) - 1 : own.stop])
        yield logits.argmax(-1).tolist()


def cached_answers(checkpoint: Checkpoint, asked: Sequence[Asked], stop: Sequence[int]) -> tuple[Answers | None, Path]:
    """The float model's answers from the cache, and where they are kept there. None where they are missing or damaged.

    They are kept by the content of the model and by all token ids that it was asked: so by the task set, the tokenizer
    and the chat template. The hint is in it for the tokenizer's end of a line.
    """
    digest = hashlib.sha256(f"{VERSION} {content_of(checkpoint.source.path)} {tuple(stop)}".encode())
    for one in asked:
        digest.update(f"{one.ids} {one.most} {one.hint} {one.part.end!r}\n".encode())
    path = float_cache.cache_folder() / "tasks" / f"{digest.hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError):
        found = read_json(path)
        if _fits(found, asked, checkpoint.spec.vocab_size):
            path.touch()
            return found, path
    return None, path


def keep_answers(path: Path, answers: Answers) -> None:
    """Keeps answers for `cached_answers`."""
    float_cache.keep_file(path, lambda file: file.write(json.dumps(answers).encode()), KEPT)


def _fits(found: object, asked: Sequence[Asked], vocabulary: int) -> bool:
    return (
        isinstance(found, list)
        and len(found) == len(asked)
        and all(isinstance(ids, list) and len(ids) <= one.most for ids, one in zip(found, asked, strict=True))
        and all(type(token) is int and 0 <= token < vocabulary for ids in found for token in ids)
    )
