"""TextEffects: the effect on a text of zeroing the scalars that have one on the prompt, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.beginnings import Beginning
from edgesw.outliers.results import CHAT, INERT, INFLUENTIAL, SUPER_WEIGHT, Change, Effect, Scalar, TextEffect
from edgesw.outliers.significance import DECIDING_SHARE, TIMES_NULL, largest_ordinary
from edgesw.outliers.text_pass import Removal, exact_enough, measure_text
from edgesw.runtime.products import product_dtype

# A model is destroyed when it loses this share of what it knows from the context. docs/detection.md has the data.
DESTROYED = 0.5
# A clear effect is at least this, in nats, of which products in bfloat16 alone give a tenth, and this many times the
# null's, which all scalars share. On the prompt, where each has its own, it has been TIMES_NULL already.
CLEAR, TIMES_TEXT_NULL = 0.01, 2.0
# The scalars that are measured on a text: those with the largest margins on the prompt. It bounds time and memory.
MOST_ON_TEXT = 12


@dataclass(frozen=True)
class Significant:
    """Scalars that have an effect on the prompt, with that effect, in groups that act on the same token."""

    effects: dict[Scalar, Effect]
    groups: tuple[tuple[Scalar, ...], ...]


def significant(groups: Sequence[Sequence[Scalar]], effects: dict[Scalar, Effect]) -> Significant:
    """Those of the groups that have an effect, at most MOST_ON_TEXT. A scalar that is in several stays in the first."""
    chosen = {scalar.coordinates: scalar for group in reversed(groups) for scalar in reversed(group)}
    clear = [scalar for scalar in chosen.values() if effects[scalar].margin >= TIMES_NULL]
    most = set(sorted(clear, key=lambda scalar: -effects[scalar].margin)[:MOST_ON_TEXT])
    kept = (tuple(scalar for scalar in group if scalar in most) for group in groups)
    return Significant({scalar: effects[scalar] for scalar in most}, tuple(group for group in kept if group))


def text_effects(
    spec: DecoderSpec,
    weights: Weights,
    beginnings: Sequence[Beginning],
    found: Significant,
    involved: Removal,
    progress: Callable[[str, int], None] | None = None,
) -> dict[Scalar, tuple[TextEffect, ...]]:
    """The effects of these scalars on texts that begin in each of these ways. `involved` are not ordinary scalars."""
    if not found.groups:
        return {}
    every = [scalar for group in found.groups for scalar in group]
    ordinary = _ordinary(weights, every, involved, max(map(len, found.groups)))
    effects: dict[Scalar, tuple[TextEffect, ...]] = dict.fromkeys(every, ())
    dtype = exact_enough(spec, weights, beginnings[0].windows, product_dtype())
    for beginning in beginnings:
        removals = [ordinary, *(removal for group in found.groups for removal in _removals(group, beginning))]
        on_layer = _on_layer(progress, beginning.name)
        skipped = len(beginning.prefix)
        measured = measure_text(spec, weights, beginning.windows, skipped, removals, dtype, on_layer)
        for group in found.groups:
            together, changes = _places(group), measured.changes
            for scalar in group:
                alone, others = changes[_places([scalar])], changes.get(together - _places([scalar]))
                null, on_prompt = changes[ordinary], found.effects[scalar]
                kind = classify(measured.known, alone, changes[together], others, null, on_prompt)
                effect = TextEffect(
                    beginning.name, measured.tokens, measured.known, alone, changes[together], others, null, kind
                )
                effects[scalar] = (*effects[scalar], effect)
    return effects


def classify(
    known: float, alone: Change, together: Change, others: Change | None, null: Change, on_prompt: Effect
) -> str:
    """What a scalar is on a text of which the model knows so much.

    A scalar of a set that destroys the model is a super weight if it decides that: on top of others it adds a good
    share, on the text or on the prompt, where more sets were measured.
    """
    line, clear = DESTROYED * known, max(CLEAR, TIMES_TEXT_NULL * null.kl)
    on_top = together.kl - others.kl if others else 0.0
    decides = on_top >= DECIDING_SHARE * together.kl or on_prompt.on_top >= TIMES_NULL * on_prompt.null_on_top
    if alone.kl >= line or (decides and together.kl >= line):
        return SUPER_WEIGHT
    return INFLUENTIAL if max(alone.kl, on_top) >= clear or (decides and together.kl >= clear) else INERT


def strongest(effects: Sequence[TextEffect]) -> str:
    """What a scalar is, whatever a text begins with."""
    kinds = {effect.kind for effect in effects}
    return next(kind for kind in (SUPER_WEIGHT, INFLUENTIAL, INERT) if kind in kinds)


def _ordinary(weights: Weights, scalars: Sequence[Scalar], involved: Removal, count: int) -> Removal:
    """The `count` largest ordinary scalars of all matrices in which there are `scalars`."""
    layers = sorted({scalar.layer for scalar in scalars})
    found = [each for layer in layers for each in largest_ordinary(weights, layer, involved, count)]
    return frozenset(place for _, place in sorted(found, key=lambda each: (-each[0], each[1]))[:count])


def _removals(group: Sequence[Scalar], beginning: Beginning) -> list[Removal]:
    """Each scalar alone, all of them, and, on plain text, all but one."""
    together = _places(group)
    each = [_places([scalar]) for scalar in group]
    others = [] if beginning.name == CHAT else [together - one for one in each if together != one]
    return [*each, together, *others]


def _places(scalars: Sequence[Scalar]) -> Removal:
    return frozenset(scalar.coordinates for scalar in scalars)


def _on_layer(progress: Callable[[str, int], None] | None, name: str) -> Callable[[int], None] | None:
    return (lambda layer: progress(f"measuring on a text, begun as {name}", layer)) if progress else None
