"""SuperOutliers: what detection finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgesw.recipes.coordinates import Coordinates


@dataclass(frozen=True)
class Effect:
    """What zeroing a scalar does to the next-token distribution.

    KL divergences from the float model's, in nats: means over the positions after the super activation's own.
    """

    alone: float
    """With this scalar zeroed and no other."""
    joint: float
    """With all candidates zeroed that make a super activation of the same token, this one among them."""
    on_top: float
    """The most that zeroing this scalar brought on top of others among them; 0 where that decided nothing."""
    null: float
    """With as many of the largest ordinary scalars of the same matrices zeroed; the floor where that is more."""
    null_on_top: float
    """How much these move it on top of all candidates; the floor where that is more."""

    @property
    def margin(self) -> float:
        """How many times its null it is, alone or on top of others."""
        return max(self.alone / self.null, self.on_top / self.null_on_top)


@dataclass(frozen=True)
class Scalar:
    """A scalar of `layers[layer].mlp.down_proj.weight`, with the activations that it links on the prompt."""

    layer: int
    row: int
    column: int
    value: float
    input_spike: float  # down_proj input at `column`
    output_spike: float  # down_proj output at `row`, before this scalar was removed
    token: int  # position in the prompt where it does so
    effect: Effect | None = None  # None where effects were not measured

    @property
    def coordinates(self) -> Coordinates:
        return self.layer, self.row, self.column


@dataclass(frozen=True)
class SuperWeight(Scalar):
    """A scalar that makes a super activation and whose loss changes what the model says."""


@dataclass(frozen=True)
class CancellingScalar(Scalar):
    """A scalar that takes a super activation out of the residual stream again. Not a super weight."""


@dataclass(frozen=True)
class RejectedCandidate(Scalar):
    """A scalar behind a spike, but not a super weight; `why` says what speaks against it."""

    why: str = ""


@dataclass(frozen=True)
class SuperActivation:
    """A channel of the residual stream with a massive value, from after `first_layer` to after `last_layer`."""

    channel: int
    tokens: tuple[int, ...]
    magnitude: float
    first_layer: int
    last_layer: int
    from_super_weight: bool
    magnitudes: tuple[float, ...] = ()  # largest in the channel after each layer of the decoder


@dataclass(frozen=True)
class LayerPeak:
    """The largest activations around one layer's `down_proj`, and the scalar behind the layer's residual spike."""

    layer: int
    input: float  # largest |down_proj input|, ...
    input_token: int
    input_column: int
    output: float  # ... largest |down_proj output|, ...
    output_token: int
    output_row: int
    residual: float  # ... and largest magnitude of the residual stream after the layer
    candidate: Coordinates
    """Row: the channel to which the layer's MLP adds most. Column: where the largest part of that comes from."""


@dataclass(frozen=True)
class SpikingColumn:
    """A column of a layer's matrix whose input spikes, so that a rounding error in it counts more than in others."""

    matrix: str  # canonical name
    column: int
    input: float  # largest magnitude, ...
    token: int  # ... and where
    times_mean: float  # mean square of its input, as a multiple of the mean over the matrix's columns


@dataclass(frozen=True)
class FirstTokenCheck:
    """The same prompt with another first token. Where `missing` and `others` are empty, the set is the same."""

    prompt: str  # how the prompt was changed
    missing: tuple[Coordinates, ...]  # super weights behind no super activation there
    others: tuple[Coordinates, ...]  # scalars that make a super activation there beside the super weights

    @property
    def same(self) -> bool:
        return not self.missing and not self.others


@dataclass(frozen=True)
class SuperOutliers:
    """Super weights in the order in which they were found, super activations by first layer, and what was ruled out.

    `confirmed`: the super weights' effects were measured. Without that, they are what magnitude alone suggests.
    """

    super_weights: tuple[SuperWeight, ...]
    super_activations: tuple[SuperActivation, ...]
    cancelling: tuple[CancellingScalar, ...] = ()
    rejected: tuple[RejectedCandidate, ...] = ()
    peaks: tuple[LayerPeak, ...] = ()
    first_token: tuple[FirstTokenCheck, ...] = ()
    confirmed: bool = False
    spiking_columns: tuple[SpikingColumn, ...] = ()
    """In forward order, on the prompt. A conversion judges anew, on its calibration text."""

    @property
    def cancels_at(self) -> tuple[Coordinates, ...]:
        return tuple(scalar.coordinates for scalar in self.cancelling)

    @property
    def depends_on_first_token(self) -> bool:
        return not all(check.same for check in self.first_token)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, texts, lists and dicts, for JSON."""
        plain: dict[str, Any] = _listed(asdict(self))
        scalars = (*self.super_weights, *self.cancelling, *self.rejected)
        written = (*plain["super_weights"], *plain["cancelling"], *plain["rejected"])
        for scalar, values in zip(scalars, written, strict=True):
            if scalar.effect is not None:
                values["effect"]["margin"] = scalar.effect.margin
        return {**plain, "depends_on_first_token": self.depends_on_first_token}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SuperOutliers:
        """What `to_dict` gave. KeyError or TypeError for anything else."""
        return cls(
            super_weights=tuple(SuperWeight(**_scalar(v)) for v in values["super_weights"]),
            super_activations=tuple(SuperActivation(**_tupled(v)) for v in values["super_activations"]),
            cancelling=tuple(CancellingScalar(**_scalar(v)) for v in values["cancelling"]),
            rejected=tuple(RejectedCandidate(**_scalar(v)) for v in values["rejected"]),
            peaks=tuple(LayerPeak(**_tupled(v)) for v in values["peaks"]),
            first_token=tuple(FirstTokenCheck(**_tupled(v)) for v in values["first_token"]),
            confirmed=values["confirmed"],
            spiking_columns=tuple(SpikingColumn(**v) for v in values["spiking_columns"]),
        )


def _scalar(values: Mapping[str, Any]) -> dict[str, Any]:
    effect = values["effect"]
    if effect is not None:
        effect = Effect(**{key: value for key, value in effect.items() if key != "margin"})
    return {**values, "effect": effect}


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(inner) for inner in value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, tuple) else value
