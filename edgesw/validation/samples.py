"""Samples of text: greedy continuations by the float model and by a package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from edgesw.decoder.decoder import decoder_head
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import CachedWeights
from edgesw.errors import PackageError
from edgesw.runtime.drafted import accepted, same_tokens
from edgesw.runtime.generate import generate
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

PROMPTS = ("The capital of France is", "To make tea, first", "The three primary colours are")


@dataclass(frozen=True)
class Sample:
    """Greedy continuations of one prompt, by the float model and by each target of the package."""

    prompt: str
    float_text: str
    texts: dict[str, str]
    same_tokens: dict[str, int]
    """How many tokens of a target are the float model's, before the first that differs."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def samples(
    spec: DecoderSpec,
    weights: Weights,
    tokenizer: Tokenizer,
    decoders: dict[str, PackagedDecoder],
    most: int,
    progress: Callable[[int], None],
) -> tuple[Sample, ...]:
    """Continues each of PROMPTS by up to `most` tokens. `progress` receives the number of the float model's tokens
    known so far."""
    prompts = [tokenizer.encode(prompt) for prompt in PROMPTS]
    for ids in prompts:
        check_ids(ids, spec.vocab_size, tokenizer, "a prompt of the samples", PackageError)
    stop = tokenizer.eos_ids
    written = {
        name: [list(generate(decoder, prompt, stop, most)) for prompt in prompts] for name, decoder in decoders.items()
    }
    draft = next(iter(decoders.values()))
    exact = float_greedy(spec, weights, prompts, draft, stop, most, progress)
    found = []
    for at, prompt in enumerate(PROMPTS):
        each = {name: texts[at] for name, texts in written.items()}
        same = {name: same_tokens(exact[at], ids) for name, ids in each.items()}
        found.append(
            Sample(prompt, _text(tokenizer, exact[at]), {n: _text(tokenizer, ids) for n, ids in each.items()}, same)
        )
    return tuple(found)


def float_greedy(
    spec: DecoderSpec,
    weights: Weights,
    prompts: Sequence[list[int]],
    draft: PackagedDecoder,
    stop: Sequence[int],
    most: int,
    progress: Callable[[int], None],
) -> list[list[int]]:
    """The float model's greedy continuation of each prompt, up to `most` tokens or one of `stop`, in a few streamed
    passes instead of one per token: a package drafts tokens, and a pass over all prompts accepts those that are right
    and corrects the first that is not (speculative decoding, arXiv 2211.17192, for greedy decoding)."""
    weights = CachedWeights(weights, ("lm_head",))
    texts: list[list[int]] = [[] for _ in prompts]
    ended = [most == 0] * len(prompts)
    while not all(ended):
        drafts = [
            [] if end else list(generate(draft, prompt + text, (), most - len(text)))
            for prompt, text, end in zip(prompts, texts, ended, strict=True)
        ]
        rows = [prompt + text + more for prompt, text, more in zip(prompts, texts, drafts, strict=True)]
        longest = max(map(len, rows))
        # The padding after a row is not visible to it.
        ids = np.array([row + [0] * (longest - len(row)) for row in rows], np.int64)
        ops = TorchOps(spec, weights, ids)
        for x in residual_stream(ops):
            hidden = x
        for at, (prompt, more) in enumerate(zip(prompts, drafts, strict=True)):
            if ended[at]:
                continue
            known = len(prompt) + len(texts[at])
            with torch.inference_mode():
                likeliest = decoder_head(ops, hidden[at, known - 1 : known + len(more)]).argmax(-1).tolist()
            new, stopped = accepted(likeliest, more, most - len(texts[at]), stop)
            texts[at] += new
            ended[at] = stopped or len(texts[at]) == most or len(prompt) + len(texts[at]) >= draft.context
        progress(sum(map(len, texts)))
    return texts


def _text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    stream = tokenizer.stream()
    return "".join([*(stream.push(token) for token in ids), stream.end()])
