"""The key/value caches of a Core ML program: of all tokens, or for layers with a window of the last tokens."""

from __future__ import annotations

from dataclasses import dataclass

from edgesw.decoder.spec import DecoderSpec

# States with dimensions that are not a multiple of this have failed on the Neural Engine (coremltools issue #2631).
STATE_MULTIPLE = 32
FULL, ROLLING = ("keyCache", "valueCache"), ("keyWindow", "valueWindow")


@dataclass(frozen=True)
class CachePlan:
    """The states of some layers. Where all of them have a window, the rolling caches have the names of full ones."""

    full: tuple[int, ...]
    """Layers whose caches hold all tokens."""
    rolling: tuple[int, ...]
    """Layers whose caches hold the last `window` tokens."""
    slots: int
    """Slots of the full caches: the context, and what padding and masks need beyond it."""
    window: int
    """Slots of the rolling caches: the widest window of their layers."""
    heads: int
    padded_head_dim: int
    """Channels of a head, with padding."""
    batched: bool
    """Whether a batch axis of one follows the axis of layers."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State name -> (layers, [1,] kv_heads, slots, head_dim)."""
        batch = (1,) if self.batched else ()
        parts = [(self.full, FULL, self.slots), (self.rolling, ROLLING if self.full else FULL, self.window)]
        return {
            name: (len(layers), *batch, self.heads, slots, self.padded_head_dim)
            for layers, names, slots in parts
            for name in names
            if layers
        }

    def names(self, layer: int) -> tuple[str, str]:
        """The states of this layer's keys and values."""
        return ROLLING if self.full and layer in self.rolling else FULL

    def index(self, layer: int) -> int:
        """Where this layer is along the first axis of its states."""
        return (self.rolling if layer in self.rolling else self.full).index(layer)


def plan_caches(spec: DecoderSpec, layers: range, context: int, spare: int, fixed: bool) -> CachePlan:
    """Plans the states of `layers`, with `spare` slots beyond the context. Programs of `fixed` lengths have states that
    the Neural Engine takes."""
    slots = _round_up(context + spare)
    windows = {layer: spec.layer_windows[layer] for layer in layers}
    rolling = {
        layer: width
        for layer, width in windows.items()
        if width is not None and width < context and _round_up(width) < slots
    }
    return CachePlan(
        tuple(layer for layer in layers if layer not in rolling),
        tuple(rolling),
        slots,
        _round_up(max(rolling.values(), default=0)),
        spec.kv_heads,
        _round_up(spec.head_dim) if fixed else spec.head_dim,
        not fixed,
    )


def _round_up(size: int) -> int:
    return -(-size // STATE_MULTIPLE) * STATE_MULTIPLE
