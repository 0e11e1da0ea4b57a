"""Finds super weights and super activations in streamed forward passes over one short prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.activations import is_massive, super_activations
from edgesw.outliers.beginnings import Beginning, beginnings
from edgesw.outliers.candidates import Candidates, find_candidates, first_made, is_massive_at
from edgesw.outliers.results import (
    INERT,
    INFLUENTIAL,
    SUPER_WEIGHT,
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
from edgesw.outliers.text_effects import DESTROYED, Significant, significant, strongest, text_effects
from edgesw.progress import Progress
from edgesw.recipes.coordinates import Coordinates
from edgesw.text.tokenizer import Tokenizer

# The paper's own prompt (arXiv 2411.07191).
PROMPT = "Apple Inc. is a worldwide tech company."


def find_outliers(
    checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress, *, confirm: bool = True
) -> SuperOutliers:
    """Detection on the paper's prompt and, for what has an effect there, on the calibration text that ships; without
    `confirm`, by magnitude alone.

    CheckpointError when the tokenizer is another model's.
    """
    spec = checkpoint.spec
    plain, *others = beginnings(tokenizer, spec, PROMPT, str(checkpoint.source.path))
    return detect(
        spec,
        checkpoint,
        plain.prompt,
        lambda stage, layer: progress("Finding super weights", f"{stage}, layer {layer}", layer, spec.layers),
        prefix=plain.prefix,
        texts=(plain, *others) if confirm else (),
        confirm=confirm,
    )


def detect(
    spec: DecoderSpec,
    weights: Weights,
    ids: np.ndarray,
    progress: Callable[[str, int], None] | None = None,
    *,
    prefix: Sequence[int] = (),
    texts: Sequence[Beginning] = (),
    confirm: bool = True,
    dtype: torch.dtype = torch.float32,
) -> SuperOutliers:
    """The super outliers that the prompt `ids`, int (tokens,), activates. Weights are streamed, one in memory at once.
    `prefix` are the ids at its beginning that the tokenizer put there.

    Candidates are scalars of `down_proj` with the largest part in a spike that their layer makes, found by zeroing them
    and repeating the pass from their layer. Those whose loss changes the next-token distribution far more than that of
    the largest ordinary scalars of the same matrix are measured on `texts`, which say what they are; the first of these
    begins as the prompt does, and candidates are looked for on the others' prompts too. Without texts the prompt alone
    decides. `confirm=False` leaves effects out. The decoder computes in `dtype`. `progress(stage, layer)` is called
    after each layer.
    """
    changed = _first_tokens(ids, len(prefix), spec)
    others = texts[1:] if confirm else ()
    prompts = [ids, *changed.values(), *(beginning.prompt for beginning in others)]
    float_run = first_run(Inputs(spec, weights, *_filled(prompts), dtype, progress))
    candidates, last_run = find_candidates(float_run)
    stream = float_run.stream_of(0)
    on_layer = (lambda layer: progress("confirming", layer)) if progress else None
    effects = measure(spec, weights, ids, stream, candidates, dtype, on_layer) if confirm else {}
    every = [candidates]
    for prompt, beginning in enumerate(others, start=1 + len(changed)):
        known = {s.coordinates for s, effect in effects.items() if effect.margin >= TIMES_NULL}
        new = find_candidates(float_run, prompt, beginning.name)[0].besides(known)
        effects |= measure(spec, weights, beginning.prompt, float_run.stream_of(prompt), new, dtype, on_layer)
        every.append(new)
    judged = _judged(spec, weights, texts, every, effects, progress)
    weights_found = tuple(_super_weights(judged, confirm))
    return SuperOutliers(
        weights_found,
        super_activations(stream, weights_found),
        tuple(CancellingScalar(**vars(scalar)) for scalar in judged.cancelling if scalar.kind != SUPER_WEIGHT),
        tuple(_rejected(judged, confirm)),
        tuple(float_run.layers[layer].peak for layer in sorted(float_run.layers)),
        tuple(
            _check_first_token(how, prompt, float_run, last_run, candidates, weights_found)
            for prompt, how in enumerate(changed, start=1)
        ),
        confirm,
        tuple(channel for layer in sorted(float_run.layers) for channel in float_run.layers[layer].outlier_channels),
    )


def _judged(
    spec: DecoderSpec,
    weights: Weights,
    texts: Sequence[Beginning],
    every: Sequence[Candidates],
    effects: dict[Scalar, Effect],
    progress: Callable[[str, int], None] | None,
) -> Candidates:
    """The candidates of all prompts with their effects and what they are. A scalar that has no effect on a prompt, and
    one on another, counts as found on that."""
    groups = [group for candidates in every for group in candidates.groups]
    clear = {scalar.coordinates: scalar for scalar, each in reversed(effects.items()) if each.margin >= TIMES_NULL}
    groups = [tuple(s for s in group if clear.get(s.coordinates, s) == s) for group in groups]
    involved = frozenset[Coordinates]().union(*(candidates.involved for candidates in every))
    found = significant(groups, effects) if effects else Significant({}, ())
    on_text = text_effects(spec, weights, texts, found, involved, progress) if texts else {}
    massive = {scalar for candidates in every for scalar in (*candidates.made, *candidates.passing)}
    listed: set[Coordinates] = set()

    def judged(scalar: Scalar) -> Scalar:
        effect, text = effects.get(scalar), on_text.get(scalar, ())
        if text:
            kind = strongest(text)
        elif effect is None or effect.margin < TIMES_NULL:
            kind = INERT if effect else ""
        else:
            kind = INFLUENTIAL if texts or scalar not in massive else SUPER_WEIGHT
        return replace(scalar, effect=effect, text=text, kind=kind)

    def first(scalars: Iterable[Scalar]) -> list[Scalar]:
        """Each scalar once, in the group that was measured."""
        chosen = []
        for scalar in scalars:
            if scalar.coordinates not in listed and clear.get(scalar.coordinates, scalar) == scalar:
                listed.add(scalar.coordinates)
                chosen.append(scalar)
        return chosen

    made = [judged(s) for s in first(s for each in every for s in each.made)]
    passing = [judged(s) for s in first(s for each in every for s in each.passing)]
    cancelling = [judged(s) for s in first(s for each in every for s in each.cancelling)]
    whys = {scalar: why for each in every for scalar, why in each.ruled_out}
    ruled_out = [(judged(s), whys[s]) for s in first(whys)]
    return Candidates(tuple(made), tuple(passing), tuple(cancelling), tuple(ruled_out), involved)


def _super_weights(judged: Candidates, confirmed: bool) -> list[SuperWeight]:
    if not confirmed:
        return [SuperWeight(**vars(scalar)) for scalar in judged.made]
    scalars = (*judged.made, *judged.passing, *(scalar for scalar, _ in judged.ruled_out), *judged.cancelling)
    return [SuperWeight(**vars(scalar)) for scalar in scalars if scalar.kind == SUPER_WEIGHT]


def _rejected(judged: Candidates, confirmed: bool) -> list[RejectedCandidate]:
    rejected = []
    for scalar in (*judged.made, *judged.passing):
        if confirmed and scalar.kind != SUPER_WEIGHT:
            rejected.append(RejectedCandidate(**vars(scalar), why=_why_not(scalar)))
        elif not confirmed and scalar in judged.passing:
            why = "massive value that does not persist, effect not measured"
            rejected.append(RejectedCandidate(**vars(scalar), why=why))
    others = [(scalar, why) for scalar, why in judged.ruled_out if scalar.kind != SUPER_WEIGHT]
    return rejected + [RejectedCandidate(**vars(scalar), why=why) for scalar, why in others]


def _why_not(scalar: Scalar) -> str:
    assert scalar.effect is not None
    if scalar.effect.margin < TIMES_NULL:
        return f"{scalar.effect.margin:.1f} times its null: {TIMES_NULL:.0f} are needed"
    most = max((effect.together.kl / effect.known for effect in scalar.text if effect.known), default=0.0)
    return f"without it the model loses {most:.0%} of what it knows: {DESTROYED:.0%} are needed"


def _filled(prompts: Sequence[np.ndarray]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Prompts as rows of one length, filled up behind their end, where nothing before depends on it; their lengths."""
    lengths = tuple(map(len, prompts))
    return np.stack([np.pad(ids, (0, max(lengths) - len(ids)), "edge") for ids in prompts]), lengths


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
