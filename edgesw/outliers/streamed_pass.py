"""Run: a streamed pass over a few prompts at once, with some scalars of `down_proj` zeroed, and its observations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from edgesw.calibration.outlier_channels import outlier_channels
from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Weights
from edgesw.decoder.spec import DecoderSpec
from edgesw.decoder.weights import places_of, scaled
from edgesw.outliers.results import LayerPeak, OutlierChannel
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import TorchOps, residual_stream

# How many scalars of a layer are recorded as parts of its spike.
PARTS = 8
# Passes without at most this many scalars are kept.
MOST_KEPT = 3


@dataclass(frozen=True)
class Part:
    """One scalar's part in a spike of `down_proj`."""

    column: int
    input: float
    weight: float

    @property
    def product(self) -> float:
        return self.input * self.weight


@dataclass(frozen=True)
class Spike:
    """The place where a layer's MLP adds most to the residual stream of one prompt, and the scalars that cause it."""

    layer: int
    token: int
    row: int
    added: float
    """The value added to the residual stream, after the decoder's output norm if it has one."""
    output: float
    """The output of `down_proj`."""
    parts: tuple[Part, ...]
    """The scalars of the row with the largest products, largest first."""

    def share(self, part: Part) -> float:
        """The share of the output that a part contributes."""
        return abs(part.product / self.output) if self.output else 0.0


@dataclass(frozen=True)
class LayerObservation:
    """The spike of each prompt in one layer, and the largest activations and outlier channels of the first prompt."""

    spikes: tuple[Spike, ...]
    peak: LayerPeak
    outlier_channels: tuple[OutlierChannel, ...]


class Recorder(TorchOps):
    """TorchOps that observes the inputs of a layer's matrices, its `down_proj`, and what its MLP adds to the residual
    stream.

    A norm may come between the last two, so the row of a spike is taken where it is added to the stream. The matrix
    stays in memory until then: only that norm is read in between.
    """

    def __init__(
        self,
        spec: DecoderSpec,
        weights: Weights,
        ids: np.ndarray,
        dtype: torch.dtype = torch.float32,
        lengths: Sequence[int] = (),
    ) -> None:
        super().__init__(spec, weights, ids, self._observe, dtype=dtype)
        self._lengths = lengths or [ids.shape[1]] * len(ids)
        self.layers: dict[int, LayerObservation] = {}
        self._pending: tuple[int, torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self._outlier_channels: list[OutlierChannel] = []

    def _observe(self, name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        own = TensorName.parse(name)
        if own.layer is None:
            return
        self._outlier_channels += _outlier_channels(name, x[0, : self._lengths[0]])
        if own.kind == "down_proj":
            self._pending = own.layer, x, weight, y

    def add(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        total = super().add(a, b)
        if self._pending is not None:
            layer, x, weight, y = self._pending
            self._pending = None
            prompts = zip(b, x, y, self._lengths, strict=True)
            spikes = tuple(
                _spike(layer, added[:n], given[:n], output[:n], weight) for added, given, output, n in prompts
            )
            n = self._lengths[0]
            peak = _peak(layer, x[0, :n], y[0, :n], total[0, :n], spikes[0])
            self.layers[layer] = LayerObservation(spikes, peak, tuple(self._outlier_channels))
            self._outlier_channels = []
        return total


def _outlier_channels(name: str, x: torch.Tensor) -> list[OutlierChannel]:
    """The outlier channels of a matrix with the input `x` (tokens, columns)."""
    magnitudes = x.abs().float().numpy()
    mean_squares = np.square(magnitudes).mean(0)
    tokens, mean = magnitudes.argmax(0), float(mean_squares.mean())
    return [
        OutlierChannel(
            *(name, column, float(magnitudes[tokens[column], column])),
            *(int(tokens[column]), float(mean_squares[column]) / mean),
        )
        for column in outlier_channels(mean_squares)
    ]


def _spike(layer: int, added: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> Spike:
    token, row = _largest(added)
    products = x[token].float() * weight[row].float()
    columns = products.abs().topk(min(PARTS, len(products))).indices.tolist()
    parts = tuple(Part(column, float(x[token, column]), float(weight[row, column])) for column in columns)
    return Spike(layer, token, row, float(added[token, row]), float(y[token, row]), parts)


def _peak(layer: int, x: torch.Tensor, y: torch.Tensor, stream: torch.Tensor, spike: Spike) -> LayerPeak:
    input_token, column = _largest(x)
    output_token, row = _largest(y)
    return LayerPeak(
        layer,
        abs(float(x[input_token, column])),
        input_token,
        column,
        abs(float(y[output_token, row])),
        output_token,
        row,
        float(stream.abs().max()),
        (layer, spike.row, spike.parts[0].column),
    )


def _largest(x: torch.Tensor) -> tuple[int, int]:
    """(row, column) of the largest magnitude in a matrix."""
    return divmod(int(x.abs().argmax()), x.shape[-1])


@dataclass(frozen=True)
class Inputs:
    """What all passes of a detection have in common."""

    spec: DecoderSpec
    weights: Weights
    ids: np.ndarray
    """Int (prompts, tokens). Shorter prompts are filled up to the longest, behind their end."""
    lengths: tuple[int, ...]
    """The tokens of each prompt."""
    dtype: torch.dtype
    progress: Callable[[str, int], None] | None
    """Called with the pass and the layer, after each layer."""


@dataclass(frozen=True)
class Run:
    """One pass: the prompts' residual streams before each layer and after the last, and the observations per layer."""

    inputs: Inputs
    number: int
    """Which pass of the detection it is, from 1."""
    streams: tuple[torch.Tensor, ...]
    """(prompts, tokens, hidden) each."""
    layers: Mapping[int, LayerObservation]
    repeated: dict[tuple[Coordinates, ...], Run] = field(default_factory=dict)
    """The first repetitions: another prompt's candidates are often the same."""

    def repeat(self, first: int, removed: Sequence[Coordinates]) -> Run:
        """The next pass, without the `removed` scalars, from layer `first` on; earlier layers are copied from this
        pass."""
        if known := self.repeated.get(tuple(removed)):
            return known
        streams, layers = _pass(self.inputs, self.number + 1, first, self.streams[first], removed)
        run = Run(
            self.inputs, self.number + 1, (*self.streams[:first], *streams), {**self.layers, **layers}, self.repeated
        )
        if len(removed) <= MOST_KEPT:
            self.repeated[tuple(removed)] = run
        return run

    def stream_of(self, prompt: int) -> list[torch.Tensor]:
        """One prompt's residual stream, (tokens, hidden) each."""
        return [x[prompt, : self.inputs.lengths[prompt]] for x in self.streams]


def first_run(inputs: Inputs) -> Run:
    """The first pass, over the whole decoder as it is."""
    return Run(inputs, 1, *_pass(inputs, 1, 0, None, ()))


def _pass(
    inputs: Inputs, number: int, first: int, start: torch.Tensor | None, removed: Sequence[Coordinates]
) -> tuple[tuple[torch.Tensor, ...], dict[int, LayerObservation]]:
    """The streams before layer `first`, which is `start`, and after each layer from it on; the observations of these
    layers."""
    ops = Recorder(inputs.spec, scaled(inputs.weights, places_of(removed), 0), inputs.ids, inputs.dtype, inputs.lengths)
    streams = []
    for layer, x in enumerate(residual_stream(ops, first, start), start=first):
        streams.append(x)
        if inputs.progress:
            inputs.progress(f"pass {number}", layer)
    return tuple(streams), ops.layers
