"""Where a program keeps keys and values: every token's, or for layers with a window the last tokens'."""

from __future__ import annotations

from dataclasses import dataclass

from edgesw.decoder.spec import DecoderSpec

# Dimensions of states that are no multiple of this have failed on the Neural Engine (coremltools issue #2631).
STATE_MULTIPLE = 32
FULL, ROLLING = ("keyCache", "valueCache"), ("keyWindow", "valueWindow")


@dataclass(frozen=True)
class CachePlan:
    """The states of some layers. Where all of them have a window, the rolling caches take the usual names."""

    full: tuple[int, ...]
    """Layers whose caches hold every token."""
    rolling: tuple[int, ...]
    """Layers whose caches hold the last `window` tokens."""
    slots: int
    """Of the caches that hold every token: the context, and what padding and masks need beyond it."""
    window: int
    """Slots of the rolling caches: the widest window of their layers."""
    heads: int
    wide: int
    """Channels of a head, with what fills them up."""
    batched: bool
    """Whether a batch of one follows the layers' axis."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """State name -> (layers, [1,] kv_heads, slots, head_dim)."""
        batch = (1,) if self.batched else ()
        parts = [(self.full, FULL, self.slots), (self.rolling, ROLLING if self.full else FULL, self.window)]
        return {
            name: (len(layers), *batch, self.heads, slots, self.wide)
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
    """`spare`: slots beyond the context. Programs of `fixed` lengths have states as the Neural Engine wants them."""
    slots = _rounded(context + spare)
    windows = {layer: spec.layer_windows[layer] for layer in layers}
    rolling = {
        layer: width
        for layer, width in windows.items()
        if width is not None and width < context and _rounded(width) < slots
    }
    return CachePlan(
        tuple(layer for layer in layers if layer not in rolling),
        tuple(rolling),
        slots,
        _rounded(max(rolling.values(), default=0)),
        spec.kv_heads,
        _rounded(spec.head_dim) if fixed else spec.head_dim,
        not fixed,
    )


def _rounded(size: int) -> int:
    return -(-size // STATE_MULTIPLE) * STATE_MULTIPLE
