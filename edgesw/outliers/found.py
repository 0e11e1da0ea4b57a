"""SuperOutliers: what detection finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class SuperWeight:
    """A scalar of `layers[layer].mlp.down_proj.weight`, with the activations that it links on the prompt."""

    layer: int
    row: int
    column: int
    value: float
    input_spike: float  # down_proj input at `column`
    output_spike: float  # down_proj output at `row`, before this scalar was removed

    @property
    def coordinates(self) -> tuple[int, int, int]:
        return self.layer, self.row, self.column


@dataclass(frozen=True)
class SuperActivation:
    """A channel of the residual stream with a massive value, from after `first_layer` to after `last_layer`."""

    channel: int
    tokens: tuple[int, ...]
    magnitude: float
    first_layer: int
    last_layer: int
    from_super_weight: bool


@dataclass(frozen=True)
class SuperOutliers:
    """Super weights in the order in which they were found, and super activations by first layer."""

    super_weights: tuple[SuperWeight, ...]
    super_activations: tuple[SuperActivation, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
