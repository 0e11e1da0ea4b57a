"""SuperOutliers: the results of detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgesw.recipes.coordinates import Coordinates

SUPER_WEIGHT, INFLUENTIAL, INERT = "super weight", "influential scalar", "inert"
"""What a scalar is: without it, alone or with those that stand in for it, the model is destroyed; its loss has a clear
effect, but not that; its loss has none."""

PLAIN, CHAT = "plain text", "user message"
"""How a text may begin."""


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

    @property
    def words(self) -> str:
        """`perplexity × 1.2`, or with more digits as it matters."""
        ratio = self.perplexity
        digits = 0 if ratio >= 100 else 1 if ratio >= 10 else 2 if ratio >= 1.1 or ratio < 0.9 else 3
        return f"perplexity × {ratio:,.{digits}f}" if ratio < 1e9 else f"perplexity × {ratio:.0e}"


@dataclass(frozen=True)
class TextEffect:
    """The effect of zeroing a scalar on a text that begins in one of the ways in which texts begin."""

    beginning: str
    """PLAIN or CHAT."""
    tokens: int
    """How many are predicted."""
    known: float
    """KL divergence in nats of the float model's predictions from their own average over the text: what the model
    knows from the context, and loses where it is destroyed."""
    alone: Change
    """With only this scalar zeroed."""
    together: Change
    """With all zeroed that act on the same token and have an effect."""
    others: Change | None
    """With all of these zeroed but this one; None where this was not measured, or it is the only one."""
    null: Change
    """With as many ordinary scalars zeroed as the largest set has: the largest of all matrices that were measured."""
    kind: str
    """What the scalar is on this text: `super weight`, `influential scalar` or `inert`."""


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
    text: tuple[TextEffect, ...] = ()  # effects on a text, by how it begins; none where the prompt showed no effect
    kind: str = ""  # SUPER_WEIGHT, INFLUENTIAL or INERT; empty where effects were not measured
    prompt: str = PLAIN  # how the prompt begins on which it was found

    @property
    def coordinates(self) -> Coordinates:
        return self.layer, self.row, self.column

    @property
    def only(self) -> str | None:
        """How a text must begin for the scalar to be what it is; None where that does not matter."""
        so = [effect.beginning for effect in self.text if effect.kind == self.kind]
        return so[0] if len(so) == 1 < len(self.text) else None

    def without_it(self) -> str:
        """What happens without it, in words, empty where that was not measured: `without it: perplexity × 5.4; without
        its whole group: perplexity × 25,500`."""
        if not self.text:
            return ""
        shown = next((effect for effect in self.text if effect.kind == self.kind), self.text[0])
        words, article = f"without it: {shown.alone.words}", "a " if self.only == CHAT else ""
        if shown.together != shown.alone:
            words += f"; without its whole group: {shown.together.words}"
        return words + (f"; only where a text begins as {article}{self.only}" if self.only else "")


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
    def influential(self) -> tuple[Scalar, ...]:
        """The scalars whose loss has a clear effect, and which are not super weights."""
        return tuple(scalar for scalar in (*self.cancelling, *self.rejected) if scalar.kind == INFLUENTIAL)

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
    return {**values, "effect": effect, "text": tuple(_text_effect(each) for each in values.get("text", ()))}


def _text_effect(values: Mapping[str, Any]) -> TextEffect:
    changes = {key: values[key] and Change(**values[key]) for key in ("alone", "together", "others", "null")}
    return TextEffect(**{**values, **changes})


def _tupled(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(_tuple(inner) for inner in value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    return [_listed(inner) for inner in value] if isinstance(value, tuple) else value
