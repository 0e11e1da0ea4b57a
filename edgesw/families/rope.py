"""Rotary position embeddings as configs describe them, resolved to frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgesw.decoder.spec import Rotary
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.families.config import Config, RopeTable

LARGEST_HEAD = 1 << 14
"""Channels of a head; models have up to 512."""


def rotary(config: Config, head_dim: int, layer_type: str | None = None) -> Rotary:
    """The position embedding that a config asks for, for layers of this type where types differ.

    Raises UnsupportedError for a type of scaling that edgesw does not know, CheckpointError for values that make no
    sense. Frequencies are theta^(-2i / head_dim), scaled as transformers does it.
    """
    rope = config.rope(layer_type)
    if head_dim > LARGEST_HEAD:  # each pair of channels gets a frequency, whatever the file's size
        raise config.wrong("head_dim", f"must be at most {LARGEST_HEAD}")
    rotated = int(head_dim * min(rope.partial, 2.0))
    if rotated > head_dim or rotated < 2 or rotated % 2:
        raise rope.wrong("partial_rotary_factor", f"must rotate an even number of each head's {head_dim} channels")
    with np.errstate(all="ignore"):
        base = rope.theta ** -(np.arange(0, rotated, 2, dtype=np.float64) / rotated)
    if rope.kind not in _KINDS:
        raise UnsupportedError(
            f"{rope.where}: rope type '{rope.kind}' is not supported. Supported: {', '.join(sorted(_KINDS))}."
        )
    try:
        with np.errstate(all="ignore"):
            found = _KINDS[rope.kind](rope, base)
    except (ArithmeticError, ValueError):  # a logarithm of 1 to divide by, or of nothing
        found = Rotary((math.nan,))
    if not np.isfinite([*found.frequencies, *found.long_frequencies, found.scale]).all():
        raise CheckpointError(f"{rope.where}: the settings of rope type '{rope.kind}' give no finite frequencies")
    still = (0.0,) * ((head_dim - rotated) // 2)
    long = (*found.long_frequencies, *still) if found.long_frequencies else ()
    return replace(found, frequencies=(*found.frequencies, *still), long_frequencies=long)


def _tuple(frequencies: np.ndarray) -> tuple[float, ...]:
    return tuple(frequencies.tolist())


def _default(rope: RopeTable, base: np.ndarray) -> Rotary:
    return Rotary(_tuple(base))


def _linear(rope: RopeTable, base: np.ndarray) -> Rotary:
    return Rotary(_tuple(base / rope.number("factor")))


def _factors(rope: RopeTable, base: np.ndarray) -> Rotary:
    """A divisor for each pair, as GGUF files keep them."""
    return Rotary(_tuple(base / rope.numbers("factors", len(base))))


def _llama3(rope: RopeTable, base: np.ndarray) -> Rotary:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones kept, those between interpolated."""
    factor, low, high = (rope.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    turns = rope.original_positions * base / (2 * math.pi)  # in the original context
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return Rotary(_tuple(kept * base + (1 - kept) * base / factor))


def _yarn(rope: RopeTable, base: np.ndarray) -> Rotary:
    """YaRN (arXiv 2309.00071): as llama3, the ramp over the number of the pair, and cosines and sines scaled."""
    factor, original = rope.number("factor"), rope.original_positions

    def pair(turns: float) -> float:
        """The pair that turns this often in the original context."""
        return len(base) * math.log(original / (turns * 2 * math.pi)) / math.log(rope.theta)

    low, high = pair(rope.number("beta_fast", 32.0)), pair(rope.number("beta_slow", 1.0))
    if rope.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * len(base) - 1)
    stretched = np.clip((np.arange(len(base)) - low) / (high - low or 0.001), 0, 1)
    scale = rope.number("attention_factor", 0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return Rotary(_tuple(stretched * base / factor + (1 - stretched) * base), scale)


def _longrope(rope: RopeTable, base: np.ndarray) -> Rotary:
    """LongRoPE (arXiv 2402.13753): a divisor for each pair, one set up to the original context, another beyond."""
    short, long = (rope.numbers(key, len(base)) for key in ("short_factor", "long_factor"))
    original = rope.original_positions
    factor = rope.number("factor", rope.max_positions / original)
    scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    scaled = Rotary(_tuple(base / short), rope.number("attention_factor", scale))
    return replace(scaled, long_frequencies=_tuple(base / long), long_from=int(original))


_KINDS: dict[str, Callable[[RopeTable, np.ndarray], Rotary]] = {
    "default": _default,
    # It differs only beyond max_position_embeddings, where our decoders end.
    "dynamic": _default,
    "linear": _linear,
    "factors": _factors,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
