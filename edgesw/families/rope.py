"""Rotary position embeddings (RoPE): from the settings in a config to frequencies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edgesw.decoder.spec import Rotary
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.families.config import AGAIN, Config, RopeTable

LARGEST_HEAD = 1 << 14
"""The largest supported number of channels per head; published models have up to 512."""


def rotary(config: Config, head_dim: int, layer_type: str | None = None) -> Rotary:
    """The position embedding that a config describes, for layers of `layer_type` where types differ.

    Frequencies are theta^(-2i / head_dim), scaled as transformers scales them. Raises UnsupportedError for an unknown
    type of scaling, CheckpointError for senseless values.
    """
    rope = config.rope(layer_type)
    if head_dim > LARGEST_HEAD:  # every pair gets a frequency: bounds the memory that a config can ask for
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
    except (ArithmeticError, ValueError):  # for example a division by log(1)
        found = Rotary((math.nan,))
    if not np.isfinite([*found.frequencies, *found.long_frequencies, found.scale]).all():
        raise CheckpointError(
            f"{rope.where}: the settings of rope type '{rope.kind}' do not give finite frequencies. {AGAIN}."
        )
    unrotated = (0.0,) * ((head_dim - rotated) // 2)
    long = (*found.long_frequencies, *unrotated) if found.long_frequencies else ()
    return replace(found, frequencies=(*found.frequencies, *unrotated), long_frequencies=long)


def _tuple(frequencies: np.ndarray) -> tuple[float, ...]:
    return tuple(frequencies.tolist())


def _default(rope: RopeTable, base: np.ndarray) -> Rotary:
    return Rotary(_tuple(base))


def _linear(rope: RopeTable, base: np.ndarray) -> Rotary:
    return Rotary(_tuple(base / rope.number("factor")))


def _factors(rope: RopeTable, base: np.ndarray) -> Rotary:
    """A divisor for each pair of channels, as GGUF files store them."""
    return Rotary(_tuple(base / rope.numbers("factors", len(base))))


def _llama3(rope: RopeTable, base: np.ndarray) -> Rotary:
    """Llama 3.1: long wavelengths are stretched by `factor`, short ones unchanged, those between interpolated."""
    factor, low, high = (rope.number(key) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    rotations = rope.original_positions * base / (2 * math.pi)  # over the original context
    unscaled = np.clip((rotations - low) / (high - low), 0, 1)
    return Rotary(_tuple(unscaled * base + (1 - unscaled) * base / factor))


def _yarn(rope: RopeTable, base: np.ndarray) -> Rotary:
    """YaRN (arXiv 2309.00071): like llama3, but the ramp runs over pair indices, and cosines and sines are scaled."""
    original = rope.original_positions
    factor = rope.number("factor", rope.max_positions / original)

    def pair(rotations: float) -> float:
        """The index of the pair that makes this many rotations over the original context."""
        return len(base) * math.log(original / (rotations * 2 * math.pi)) / math.log(rope.theta)

    low, high = pair(rope.number("beta_fast", 32.0)), pair(rope.number("beta_slow", 1.0))
    if rope.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * len(base) - 1)
    stretched = np.clip((np.arange(len(base)) - low) / (high - low or 0.001), 0, 1)
    scale = rope.number("attention_factor", _yarn_scale(rope, factor))
    return Rotary(_tuple(stretched * base / factor + (1 - stretched) * base), scale)


def _yarn_scale(rope: RopeTable, factor: float) -> float:
    """The factor of cosines and sines where none is given; DeepSeek's two settings count only together."""

    def scale(mscale: float) -> float:
        return 0.1 * mscale * math.log(factor) + 1 if factor > 1 else 1.0

    over, under = rope.optional_number("mscale", zero=True), rope.optional_number("mscale_all_dim", zero=True)
    return scale(over) / scale(under) if over and under else scale(1.0)


def _longrope(rope: RopeTable, base: np.ndarray) -> Rotary:
    """LongRoPE (arXiv 2402.13753): a divisor for each pair, with a second set for contexts beyond the original."""
    short, long = (rope.numbers(key, len(base)) for key in ("short_factor", "long_factor"))
    original = rope.original_positions
    factor = rope.number("factor", rope.max_positions / original)
    scale = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    scaled = Rotary(_tuple(base / short), rope.number("attention_factor", scale))
    return replace(scaled, long_frequencies=_tuple(base / long), long_from=int(original))


_KINDS: dict[str, Callable[[RopeTable, np.ndarray], Rotary]] = {
    "default": _default,
    # Differs from the default only beyond max_position_embeddings, the longest context of a package.
    "dynamic": _default,
    "linear": _linear,
    "factors": _factors,
    "llama3": _llama3,
    "yarn": _yarn,
    "longrope": _longrope,
}
