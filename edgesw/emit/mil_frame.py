"""The tokens of one call of a MIL program: their positions, the keys they attend to, and the caches of those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgesw.emit.mil_caches import CachePlan
from edgesw.formats.coreml_layout import COUNTER_BASE

Var = Any

# What a mask adds to the score of a key that is not attended to; the lowest float16 would make rows of NaN.
MASKED = np.float16(-1e4)


@dataclass(frozen=True)
class Rolling:
    """What layers with a rolling cache attend to: its slots, which hold the last tokens in order, then the q new
    tokens."""

    tokens: Var
    """int32 (1, slots + q): which token is in each place; below zero: none."""
    mask: Var
    """float16 (1, 1, q, slots + q), as a frame's."""
    advance: Var
    """int32 (1,): how many of the new tokens are not padding. The cache moves on by as many slots."""


@dataclass(frozen=True)
class Frame:
    """The variables of one call with q new tokens. Attention reads the first kv_length slots of the full caches."""

    past: Var
    """int32 (1,): how many tokens the caches hold before the call."""
    total: Var
    """int32 (1,): past + q."""
    positions: Var
    """int32 (q, 1): positions of the new tokens in the text."""
    slots: Var
    """int32 (1, kv_length): which token each slot of the caches holds, or will hold."""
    kv_length: Var
    """int32 (1,)."""
    mask: Var
    """float16 (1, 1, q, kv_length), added to scores: MASKED for the keys after each query, and what the caller
    masks."""
    plan: CachePlan
    states: Mapping[str, Var]
    """The caches by name."""
    rolling: Rolling | None
    """For the layers with a rolling cache; None where there are none."""
    last: Var | None = None
    """int32 (1,): the only token whose logits are wanted; None for all."""


def flexible_frame(new: Var, mask: Var, plan: CachePlan, states: Mapping[str, Var], counter: Var) -> Frame:
    """The frame of a program that takes any number of tokens, `new` int32 (1,).

    Its own state counts the tokens, so that nothing about the past depends on what the caller's `mask`, float16
    (1, 1, 1 or q, kv_length), contains or leaves out. Only kv_length is taken from its shape, and only as a bound on
    the work: it must be at least the number of tokens so far, the new ones included. No shape depends on a value, which
    Core ML's GPU compiler would refuse (coremltools issue #2825), and no range on one, which it gets wrong (#2838):
    ranges are pieces of a constant.
    """
    from coremltools.converters.mil.mil import Builder as mb

    numbers = np.arange(plan.slots, dtype=np.int32)
    count = mb.cast(x=mb.read_state(input=counter), dtype="int32")
    past = mb.reduce_sum(x=mb.mul(x=count, y=np.array([COUNTER_BASE, 1], np.int32)), axes=[0], keep_dims=True)
    kv_length = mb.slice_by_index(x=mb.shape(x=mask), begin=[3], end=[4])
    total = mb.add(x=past, y=new)
    base = np.int32(COUNTER_BASE)
    parts = mb.concat(values=[mb.floor_div(x=total, y=base), mb.mod(x=total, y=base)], axis=0)
    mb.coreml_update_state(state=counter, value=mb.cast(x=parts, dtype="fp16"))
    positions = _positions(numbers, new, past)
    keys = mb.expand_dims(x=mb.slice_by_index(x=numbers, begin=[0], end=kv_length), axes=[0])
    rolling = _rolling(plan, past, positions, new, mask)
    mask = mb.add(x=mask, y=mask_bias(mb.greater(x=keys, y=positions)))
    return Frame(past, total, positions, keys, kv_length, mask, plan, states, rolling)


def fixed_frame(
    new: Var, position: Var, last: Var | None, plan: CachePlan, states: Mapping[str, Var], logits: bool
) -> Frame:
    """The frame of a program of fixed lengths, whose caller passes the first token's `position`, int32 (1,), and to a
    program that takes several tokens the index of the `last` one that is not padding, int32 (1,)."""
    from coremltools.converters.mil.mil import Builder as mb

    numbers = np.arange(plan.slots, dtype=np.int32)
    positions = _positions(numbers, new, position)
    mask = mb.expand_dims(x=mask_bias(mb.greater(x=numbers[None], y=positions)), axes=[0, 1])
    kv_length, advance = np.array([len(numbers)], np.int32), new if last is None else mb.add(x=last, y=np.int32(1))
    rolling = _rolling(plan, position, positions, advance, None)
    total = mb.add(x=position, y=new)
    wanted = last if logits else None
    return Frame(position, total, positions, numbers[None], kv_length, mask, plan, states, rolling, wanted)


def _positions(numbers: np.ndarray, new: Var, past: Var) -> Var:
    """The positions of `new` tokens after `past` others, int32 (q, 1)."""
    from coremltools.converters.mil.mil import Builder as mb

    offsets = mb.slice_by_index(x=numbers, begin=[0], end=new)
    return mb.expand_dims(x=mb.add(x=offsets, y=past), axes=[1])


def _rolling(plan: CachePlan, past: Var, positions: Var, advance: Var, mask: Var | None) -> Rolling | None:
    from coremltools.converters.mil.mil import Builder as mb

    if not plan.rolling:
        return None
    before = mb.add(x=np.arange(-plan.window, 0, dtype=np.int32), y=past)
    tokens = mb.concat(values=[before, mb.squeeze(x=positions, axes=[1])], axis=0)
    row = mb.expand_dims(x=tokens, axes=[0])
    out = mb.logical_or(x=mb.greater(x=row, y=positions), y=mb.less(x=row, y=np.int32(0)))
    bias = mb.expand_dims(x=mask_bias(out), axes=[0, 1])
    if mask is not None:  # the caller's mask is by token, and has no places for those before the first
        bias = mb.add(x=bias, y=mb.gather(x=mask, indices=mb.maximum(x=tokens, y=np.int32(0)), axis=3))
    return Rolling(row, bias, advance)


def mask_bias(places: Var) -> Var:
    """What is added to scores: MASKED at these places (bool), 0 elsewhere; float16."""
    from coremltools.converters.mil.mil import Builder as mb

    return mb.mul(x=mb.cast(x=places, dtype="fp16"), y=MASKED)
