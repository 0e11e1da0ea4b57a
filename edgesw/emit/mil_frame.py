"""What a MIL program knows of the tokens at hand: where they stand, which keys they see, and where those are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesw.emit.mil_caches import CachePlan

Var = Any

# What a mask adds to the score of a key that is not attended to; the lowest float16 would make rows of NaN.
CLOSED = np.float16(-1e4)
# States are float16, which counts to 2048: the number of tokens is kept as so many of these and a rest.
BASE = 1024


@dataclass(frozen=True)
class Rolling:
    """What layers with a rolling cache look at: its slots, which hold the last tokens in order, then the q new ones."""

    tokens: Var
    """int32 (1, slots + q): which token is in each place; below zero: none."""
    mask: Var
    """float16 (1, 1, q, slots + q), as a frame's."""
    kept: Var
    """int32 (1,): how many of the new tokens are not padding. The cache moves on by so many."""


@dataclass(frozen=True)
class Frame:
    """The variables of one call. q tokens are given; attention looks at the first kv slots of the caches."""

    past: Var
    """int32 (1,): how many tokens the caches hold already."""
    seen: Var
    """int32 (1,): past + q."""
    positions: Var
    """int32 (q, 1): where the tokens stand in the text."""
    slots: Var
    """int32 (1, kv): which token each slot of the caches holds, or will hold."""
    reach: Var
    """int32 (1,): kv."""
    mask: Var
    """float16 (1, 1, q, kv), added to scores: closed are the keys after each query, and what the caller closes."""
    plan: CachePlan
    states: Mapping[str, Var]
    """The caches by name."""
    rolling: Rolling | None
    """For the layers that have one; None where none has."""
    last: Var | None = None
    """int32 (1,): the only token whose logits are wanted; None for all."""


def flexible_frame(new: Var, mask: Var, plan: CachePlan, states: Mapping[str, Var], counter: Var) -> Frame:
    """The frame of a program that takes any number of tokens, `new` int32 (1,).

    Its own state counts the tokens, so that nothing about the past depends on what the caller's `mask`, float16
    (1, 1, 1 or q, kv), says or leaves out. Of its shape only kv is used, and only as a bound on the work: it must be at
    least the number of tokens seen, these included. No shape depends on a value, which Core ML's GPU compiler would
    refuse (coremltools issue #2825), and no range on one, which it gets wrong (#2838): ranges are pieces of a constant.
    """
    from coremltools.converters.mil.mil import Builder as mb

    numbers = np.arange(plan.slots, dtype=np.int32)
    count = mb.cast(x=mb.read_state(input=counter), dtype="int32")
    past = mb.reduce_sum(x=mb.mul(x=count, y=np.array([BASE, 1], np.int32)), axes=[0], keep_dims=True)
    reach = mb.slice_by_index(x=mb.shape(x=mask), begin=[3], end=[4])
    seen = mb.add(x=past, y=new)
    parts = mb.concat(values=[mb.floor_div(x=seen, y=np.int32(BASE)), mb.mod(x=seen, y=np.int32(BASE))], axis=0)
    mb.coreml_update_state(state=counter, value=mb.cast(x=parts, dtype="fp16"))
    positions = _positions(numbers, new, past)
    keys = mb.expand_dims(x=mb.slice_by_index(x=numbers, begin=[0], end=reach), axes=[0])
    rolling = _rolling(plan, past, positions, new, mask)
    mask = mb.add(x=mask, y=closed(mb.greater(x=keys, y=positions)))
    return Frame(past, seen, positions, keys, reach, mask, plan, states, rolling)


def fixed_frame(
    new: Var, position: Var, last: Var | None, plan: CachePlan, states: Mapping[str, Var], logits: bool
) -> Frame:
    """The frame of a program of fixed lengths, which the caller tells the first token's `position`, int32 (1,), and,
    where it takes several tokens, the number of the `last` one that is not padding, int32 (1,)."""
    from coremltools.converters.mil.mil import Builder as mb

    numbers = np.arange(plan.slots, dtype=np.int32)
    positions = _positions(numbers, new, position)
    mask = mb.expand_dims(x=closed(mb.greater(x=numbers[None], y=positions)), axes=[0, 1])
    reach, kept = np.array([len(numbers)], np.int32), new if last is None else mb.add(x=last, y=np.int32(1))
    rolling = _rolling(plan, position, positions, kept, None)
    seen = mb.add(x=position, y=new)
    wanted = last if logits else None
    return Frame(position, seen, positions, numbers[None], reach, mask, plan, states, rolling, wanted)


def _positions(numbers: np.ndarray, new: Var, past: Var) -> Var:
    """Where `new` tokens after `past` others stand, int32 (q, 1)."""
    from coremltools.converters.mil.mil import Builder as mb

    offsets = mb.slice_by_index(x=numbers, begin=[0], end=new)
    return mb.expand_dims(x=mb.add(x=offsets, y=past), axes=[1])


def _rolling(plan: CachePlan, past: Var, positions: Var, kept: Var, mask: Var | None) -> Rolling | None:
    from coremltools.converters.mil.mil import Builder as mb

    if not plan.rolling:
        return None
    before = mb.add(x=np.arange(-plan.window, 0, dtype=np.int32), y=past)
    tokens = mb.concat(values=[before, mb.squeeze(x=positions, axes=[1])], axis=0)
    row = mb.expand_dims(x=tokens, axes=[0])
    out = mb.logical_or(x=mb.greater(x=row, y=positions), y=mb.less(x=row, y=np.int32(0)))
    bias = mb.expand_dims(x=closed(out), axes=[0, 1])
    if mask is not None:  # the caller's is by token, and has no places for those before the first
        bias = mb.add(x=bias, y=mb.gather(x=mask, indices=mb.maximum(x=tokens, y=np.int32(0)), axis=3))
    return Rolling(row, bias, kept)


def closed(places: Var) -> Var:
    """What is added to scores: CLOSED at these places (bool), 0 elsewhere; float16."""
    from coremltools.converters.mil.mil import Builder as mb

    return mb.mul(x=mb.cast(x=places, dtype="fp16"), y=CLOSED)
