"""Finds super weights and super activations in streamed forward passes over one short prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError
from edgesw.outliers.activations import is_massive, super_activations
from edgesw.outliers.candidates import Candidates, find_candidates, first_made, is_massive_at
from edgesw.outliers.results import (
    CancellingScalar,
    Effect,
    FirstTokenCheck,
    RejectedCandidate,
    Scalar,
    SuperOutliers,
    SuperWeight,
)
from edgesw.outliers.significance import TIMES_NULL, measure
from edgesw.outliers.streamed_pass import Inputs, Run, first_run
from edgesw.progress import Progress
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer

# The paper's own prompt (arXiv 2411.07191).
PROMPT = "Apple Inc. is a worldwide tech company."


def find_outliers(
    checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress, *, confirm: bool = True
) -> SuperOutliers:
    """Detection on the paper's prompt; without `confirm`, by magnitude alone.

    CheckpointError when the tokenizer is another model's.
    """
    ids = np.array(tokenizer.encode(PROMPT))
    where = f"{checkpoint.source.path}: the prompt of detection"
    check_ids(ids, checkpoint.spec.vocab_size, tokenizer, where, CheckpointError)
    layers = checkpoint.spec.layers
    return detect(
        checkpoint.spec,
        checkpoint,
        ids,
        lambda stage, layer: progress("Finding super weights", f"{stage}, layer {layer}", layer, layers),
        prefix=tokenizer.prefix_ids,
        confirm=confirm,
    )


def detect(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    progress: Callable[[str, int], None] | None = None,
    *,
    prefix: Sequence[int] = (),
    confirm: bool = True,
    dtype: torch.dtype = torch.float32,
) -> SuperOutliers:
    """The super outliers that the prompt `ids`, int (tokens,), activates. Weights are streamed, one in memory at once.
    `prefix` are the ids at its beginning that the tokenizer put there.

    A super weight is the scalar of `down_proj` with the largest part in a super activation that its layer makes, found
    by zeroing it and repeating the pass from its layer until none is made; and zeroing it changes the next-token
    distribution far more than zeroing the largest ordinary scalars of the same matrix. `confirm=False` leaves out the
    second condition. The decoder computes in `dtype`. `progress(stage, layer)` is called after each layer.
    """
    changed = _first_tokens(ids, len(prefix), spec)
    float_run = first_run(Inputs(spec, weights, np.stack([ids, *changed.values()]), dtype, progress))
    candidates, last_run = find_candidates(float_run)
    stream = float_run.stream_of(0)
    on_layer = (lambda layer: progress("confirming", layer)) if progress else None
    effects = measure(spec, weights, ids, stream, candidates, dtype, on_layer) if confirm else {}
    weights_found = tuple(_super_weights(candidates, effects, confirm))
    return SuperOutliers(
        weights_found,
        super_activations(stream, weights_found),
        tuple(CancellingScalar(**_fields(scalar, effects)) for scalar in candidates.cancelling),
        tuple(_rejected(candidates, effects, confirm)),
        tuple(float_run.layers[layer].peak for layer in sorted(float_run.layers)),
        tuple(
            _check_first_token(how, prompt, float_run, last_run, candidates, weights_found)
            for prompt, how in enumerate(changed, start=1)
        ),
        confirm,
        tuple(channel for layer in sorted(float_run.layers) for channel in float_run.layers[layer].outlier_channels),
    )


def _super_weights(candidates: Candidates, effects: dict[Scalar, Effect], confirmed: bool) -> list[SuperWeight]:
    scalars = (*candidates.made, *candidates.passing)
    chosen = [scalar for scalar in scalars if confirmed and _is_significant(effects[scalar])]
    return [SuperWeight(**_fields(scalar, effects)) for scalar in (chosen if confirmed else candidates.made)]


def _is_significant(effect: Effect) -> bool:
    return effect.margin >= TIMES_NULL


def _rejected(candidates: Candidates, effects: dict[Scalar, Effect], confirmed: bool) -> list[RejectedCandidate]:
    rejected = []
    for scalar in (*candidates.made, *candidates.passing):
        if confirmed and not _is_significant(effects[scalar]):
            margin = effects[scalar].margin
            why = f"{margin:.1f} times its null: {TIMES_NULL:.0f} are needed"
            rejected.append(RejectedCandidate(**_fields(scalar, effects), why=why))
        elif not confirmed and scalar in candidates.passing:
            why = "massive value that does not persist, effect not measured"
            rejected.append(RejectedCandidate(**_fields(scalar, effects), why=why))
    rejected += [RejectedCandidate(**_fields(scalar, effects), why=why) for scalar, why in candidates.ruled_out]
    return rejected


def _fields(scalar: Scalar, effects: dict[Scalar, Effect]) -> dict[str, Any]:
    return vars(replace(scalar, effect=effects.get(scalar)))


def _first_tokens(ids: np.ndarray, prefix: int, spec: DecoderSpec) -> dict[str, np.ndarray]:
    """Prompts that begin otherwise, of the prompt's own length, by how they were changed. Its first `prefix` ids are
    what the tokenizer puts before a text."""
    start, own = ids[:prefix], ids[prefix:]
    if len(own) < 3:
        return {}
    shorter = {"without its first token": np.concatenate([start, own[1:], own[-1:]])}
    bos = spec.bos_token_id
    if prefix:
        return {"without BOS": np.append(own, [own[-1]] * prefix), **shorter}
    if bos is None or not 0 <= bos < spec.vocab_size:
        return shorter
    return {"with BOS before it": np.append(bos, own[:-1]), **shorter}


def _check_first_token(
    how: str, prompt: int, before: Run, after: Run, candidates: Candidates, found: tuple[SuperWeight, ...]
) -> FirstTokenCheck:
    """Whether the super weights make their activations on another prompt too, and nothing else makes one there."""
    missing = tuple(w.coordinates for w in found if not is_massive_at(before, prompt, w.layer, w.row))
    known = {scalar.coordinates for scalar in (*candidates.made, *candidates.passing)}
    spike = first_made(after, prompt)
    if spike is None or not is_massive(spike, before.stream_of(prompt)):
        return FirstTokenCheck(how, missing, ())
    other = (spike.layer, spike.row, spike.parts[0].column)
    return FirstTokenCheck(how, missing, () if other in known else (other,))
