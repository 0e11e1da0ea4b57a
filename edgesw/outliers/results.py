"""SuperOutliers: the results of detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgesw.recipes.coordinates import Coordinates


@dataclass(frozen=True)
class Effect:
    """The effect of zeroing a scalar on the next-token distribution.

    KL divergences from the float model's distribution, in nats: means over the positions after the super activation's.
    """

    alone: float
    """With only this scalar zeroed."""
    joint: float
    """With all candidates zeroed that make a super activation of the same token, including this one."""
    on_top: float
    """The largest increase from zeroing this scalar in addition to others of them; 0 where it decides nothing."""
    null: float
    """With as many of the largest ordinary scalars of the same matrices zeroed, and at least the floor."""
    null_on_top: float
    """The change from zeroing these in addition to all candidates, and at least the floor."""

    @property
    def margin(self) -> float:
        """The ratio to the null, alone or in addition to others, whichever is larger."""
        return max(self.alone / self.null, self.on_top / self.null_on_top)


@dataclass(frozen=True)
class Change:
    """What changes on a text when scalars are zeroed."""

    perplexity: float
    """The ratio to the float model's."""
    kl: float
    """KL divergence in nats from the float model's next-token distribution, mean over the text."""
    top1: float
    """The share of positions at which both find the same token most likely."""


@dataclass(frozen=True)
class Scalar:
    """A scalar of `layers[layer].mlp.down_proj.weight`, with the activations that it connects on the prompt."""

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
    """A scalar that makes a super activation, and without which the model predicts something else."""


@dataclass(frozen=True)
class CancellingScalar(Scalar):
    """A scalar that cancels a super activation in the residual stream. Not a super weight."""


@dataclass(frozen=True)
class RejectedCandidate(Scalar):
    """A scalar that causes a spike but is not a super weight; `why` says why not."""

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
    """The largest activations around one layer's `down_proj`, and the scalar that causes its residual spike."""

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
class OutlierChannel:
    """An input channel of a layer's matrix that is far larger than others, so that a rounding error in its column
    counts more."""

    matrix: str  # canonical name
    column: int
    input: float  # largest magnitude, ...
    token: int  # ... and where
    times_mean: float  # mean square of its input, as a multiple of the mean over the matrix's columns


@dataclass(frozen=True)
class FirstTokenCheck:
    """Detection on the same prompt with another first token: the same set if `missing` and `others` are empty."""

    prompt: str  # how the prompt was changed
    missing: tuple[Coordinates, ...]  # super weights that make no super activation there
    others: tuple[Coordinates, ...]  # other scalars that make a super activation there

    @property
    def same(self) -> bool:
        return not self.missing and not self.others


@dataclass(frozen=True)
class SuperOutliers:
    """Super weights in the order in which they were found, super activations by first layer, and rejected candidates.

    `confirmed`: the super weights' effects were measured. Otherwise they are those that magnitude alone suggests.
    """

    super_weights: tuple[SuperWeight, ...]
    super_activations: tuple[SuperActivation, ...]
    cancelling: tuple[CancellingScalar, ...] = ()
    rejected: tuple[RejectedCandidate, ...] = ()
    peaks: tuple[LayerPeak, ...] = ()
    first_token: tuple[FirstTokenCheck, ...] = ()
    confirmed: bool = False
    outlier_channels: tuple[OutlierChannel, ...] = ()
    """In forward order, on the prompt. A conversion finds its own, on its calibration text."""

    @property
    def cancels_at(self) -> tuple[Coordinates, ...]:
        return tuple(scalar.coordinates for scalar in self.cancelling)

    @property
    def depends_on_first_token(self) -> bool:
        return not all(check.same for check in self.first_token)

    def to_dict(self) -> dict[str, Any]:
        """The results as JSON values."""
        plain: dict[str, Any] = _listed(asdict(self))
        scalars = (*self.super_weights, *self.cancelling, *self.rejected)
        written = (*plain["super_weights"], *plain["cancelling"], *plain["rejected"])
        for scalar, values in zip(scalars, written, strict=True):
            if scalar.effect is not None:
                values["effect"]["margin"] = scalar.effect.margin
        return {**plain, "depends_on_first_token": self.depends_on_first_token}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SuperOutliers:
        """The inverse of `to_dict`. KeyError or TypeError for anything else."""
        return cls(
            super_weights=tuple(SuperWeight(**_scalar(v)) for v in values["super_weights"]),
            super_activations=tuple(SuperActivation(**_tupled(v)) for v in values["super_activations"]),
            cancelling=tuple(CancellingScalar(**_scalar(v)) for v in values["cancelling"]),
            rejected=tuple(RejectedCandidate(**_scalar(v)) for v in values["rejected"]),
            peaks=tuple(LayerPeak(**_tupled(v)) for v in values["peaks"]),
            first_token=tuple(FirstTokenCheck(**_tupled(v)) for v in values["first_token"]),
            confirmed=values["confirmed"],
            outlier_channels=tuple(OutlierChannel(**v) for v in values["outlier_channels"]),
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
