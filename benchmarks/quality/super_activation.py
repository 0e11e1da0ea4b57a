"""How large the super activation is when the matrices before it are compressed, and what restores it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.lib.arguments import add_model, at_least
from benchmarks.lib.bench import Bench, make_bench
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import open_model, windows_of
from benchmarks.lib.numerics import Matrices, Mixed
from benchmarks.lib.printing import say, table, versions
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.convert import compressed_decoder
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings
from edgesw.decoder.names import TensorName, down_proj
from edgesw.decoder.spec import LAYER_MATRICES
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream
from edgesw.text.texts import shipped_text
from edgesw.validation.measure import Agreement, measure

BENCHMARK = Benchmark(
    "The super activation after compression of all matrices or of parts, and after each remedy.",
    minutes=20,
    docs=(Section("docs/compression.md", "Why a super activation shrinks, and what keeps it"),),
)
FRACTION = 5e-4  # of each matrix's scalars, where some are held out by sensitivity
COLUMNS = ("compressed", "super activation", "of float", "input of the super weight", "of float", "KL, nats")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
GATE_UP = ("gate_proj", "up_proj")
MLP = (*GATE_UP, "down_proj")


@dataclass(frozen=True)
class Spike:
    """The largest magnitude in the residual stream after the super weight's layer, and the largest input of its
    column."""

    activation: float
    spike: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bits", type=at_least(2), default=3, help="bits of the palettes of 16 rows (3)")
    add_model(parser)


def main(given: argparse.Namespace) -> None:
    run(given.model, given.bits)


def run(model: str, bits: int) -> None:
    """Detects, calibrates, compresses in each way and prints."""
    checkpoint, tokenizer = open_model(model)
    bench = make_bench(checkpoint, tokenizer, windows_of(shipped_text("validation"), checkpoint, tokenizer, 1))
    values = bench.super_weights.values
    if not values:
        sys.exit(f"Error: no super weights were found in {model}.")
    layer = min(layer for layer, _, _ in values)
    inputs = {place: spike(bench, checkpoint.tensor, place).spike for place in values if place[0] == layer}
    place = max(inputs, key=lambda place: abs(values[place]) * inputs[place])
    plan = make_plans(checkpoint.spec, Settings(("coreml",), bits, scheme="palette")).compressions["coreml"]
    exact = spike(bench, checkpoint.tensor, place)
    if not exact.spike:
        sys.exit(f"Error: the validation text does not activate the super weights of {model}.")
    print(f"{model}, palettes of {bits} bits and 16 rows, embedding and head in float. {versions('torch')}.")
    print(f"Super weight: layer {layer} [{place[1]}, {place[2]}]. ", end="")
    print(f"KL on {bench.ids.shape[1]} tokens of the validation text.\n")
    reference = list(FloatLogits(checkpoint.spec, checkpoint, bench.ids))
    rows: list[tuple[str, ...]] = [("nothing (float)", f"{exact.activation:,.0f}", "", f"{exact.spike:,.0f}", "", "0")]
    for title, matrices in ways(bench, plan, place, exact):
        say(title)
        made = spike(bench, matrices, place)
        rows.append((title, *_cells(made, exact), f"{divergence(bench, reference, matrices):.4f}"))
    print(table(COLUMNS, rows))


def ways(bench: Bench, plan: CompressionPlan, place: Coordinates, exact: Spike) -> Iterator[tuple[str, Matrices]]:
    """Each way to compress: its title, and the layers' matrices."""
    squares, scalars = bench.calibration.mean_squares, HoldOut(scalars=tuple(bench.super_weights.values))
    some = replace(bench.hold_out, fraction=FRACTION)
    weighted = dequantized(bench, CompressedDecoder(bench.checkpoint, plan, squares, scalars))
    column_wise = dequantized(bench, CompressedDecoder(bench.checkpoint, plan, squares, bench.hold_out))
    yield "all, by squared error", dequantized(bench, CompressedDecoder(bench.checkpoint, plan))
    plain = CompressedDecoder(bench.checkpoint, plan, None, scalars)
    yield "all, by squared error; super weights held out", dequantized(bench, plain)
    yield "all, weighted; super weights held out", weighted
    for title, names in parts(plan, place):
        yield f"{title}, weighted; super weights held out", only(bench, names, weighted)
    yield "all, weighted; outlier channels held out", column_wise
    yield "the same, super weights scaled to the float activation", refitted(bench, column_wise, place, exact)
    yield "the same, the rows that make its input in float instead", with_rows(bench, column_wise, place)
    with_fraction = CompressedDecoder(bench.checkpoint, plan, squares, some)
    yield f"the same, {FRACTION:g} of scalars held out instead", dequantized(bench, with_fraction)
    compensated = dequantized(bench, compressed_decoder(bench.checkpoint, plan, bench.calibration, bench.hold_out))
    yield "all, compensated; outlier channels held out", compensated
    yield "the same, super weights scaled to the float activation", refitted(bench, compensated, place, exact)
    both = dequantized(bench, compressed_decoder(bench.checkpoint, plan, bench.calibration, some))
    yield f"all, compensated; outlier channels and {FRACTION:g} of scalars held out", both


def parts(plan: CompressionPlan, place: Coordinates) -> Iterator[tuple[str, frozenset[str]]]:
    """Subsets of the matrices that produce the super activation."""
    layer = place[0]
    names = [TensorName.parse(matrix.name) for matrix in plan.layers]

    def chosen(first: int, last: int, kinds: Collection[str]) -> frozenset[str]:
        return frozenset(str(n) for n in names if n.layer is not None and first <= n.layer <= last and n.kind in kinds)

    for one in range(layer):
        yield f"layer {one}", chosen(one, one, LAYER_MATRICES)
    yield f"layers 0 to {layer - 1}", chosen(0, layer - 1, LAYER_MATRICES)
    yield f"attention of layers 0 to {layer - 1}", chosen(0, layer - 1, ATTENTION)
    yield f"MLPs of layers 0 to {layer - 1}", chosen(0, layer - 1, MLP)
    yield f"attention of layer {layer}", chosen(layer, layer, ATTENTION)
    yield f"gate_proj and up_proj of layer {layer}", chosen(layer, layer, GATE_UP)
    yield f"down_proj of layer {layer}", frozenset((down_proj(layer),))


def dequantized(bench: Bench, decoder: CompressedDecoder) -> Matrices:
    """All layers' matrices of a decoder, compressed once: with compensation each can be had only once."""
    tensors = {name: decoder.tensor(name) for name in bench.checkpoint.spec.matrices()}
    return tensors.__getitem__


def only(bench: Bench, names: frozenset[str], matrices: Matrices) -> Matrices:
    """These matrices, and the others in float."""
    return lambda name: matrices(name) if name in names else bench.checkpoint.tensor(name)


def with_rows(bench: Bench, matrices: Matrices, place: Coordinates) -> Matrices:
    """These matrices, with the rows of gate_proj and up_proj in float that compute the inputs of the super weights."""
    layer, columns = place[0], _columns(bench, place)

    def tensor(name: str) -> np.ndarray:
        values = matrices(name)
        if name in (str(TensorName(layer, kind)) for kind in GATE_UP):
            values = values.copy()
            values[columns] = bench.checkpoint.tensor(name)[columns]
        return values

    return tensor


def refitted(bench: Bench, matrices: Matrices, place: Coordinates, exact: Spike) -> Matrices:
    """These matrices, with the super weights' columns scaled so that the super activation is as large as in float."""
    layer, columns = place[0], _columns(bench, place)
    scale = exact.activation / spike(bench, matrices, place).activation

    def tensor(name: str) -> np.ndarray:
        values = matrices(name)
        if name == down_proj(layer):
            values = values.copy()
            values[:, columns] *= scale
        return values

    return tensor


def _columns(bench: Bench, place: Coordinates) -> list[int]:
    """The columns of the super weights in this one's layer."""
    return sorted({column for layer, _, column in bench.super_weights.values if layer == place[0]})


def spike(bench: Bench, matrices: Matrices, place: Coordinates) -> Spike:
    """What the decoder computes at the super weight, run up to its layer."""
    layer, _, column = place
    inputs: list[float] = []

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if name == down_proj(layer):
            inputs.append(float(x[..., column].abs().max()))

    stream = residual_stream(
        TorchOps(bench.checkpoint.spec, Mixed(bench.checkpoint, bench.layers, matrices, {}), bench.ids, observe)
    )
    *_, last = (x for _, x in zip(range(layer + 2), stream, strict=False))
    return Spike(float(last.abs().max()), inputs[0])


def divergence(bench: Bench, reference: list[np.ndarray], matrices: Matrices) -> float:
    """KL divergence from the float model's logits of each window, nats."""
    decoder = bench.simulated(matrices, bench.layers, ends=False)
    results: list[list[Agreement]] = list(measure(bench.ids, reference, [decoder]))
    return results[-1][0].kl_divergence


def _cells(made: Spike, exact: Spike) -> tuple[str, ...]:
    return (
        f"{made.activation:,.0f}",
        f"{made.activation / exact.activation:.1%}",
        f"{made.spike:,.0f}",
        f"{made.spike / exact.spike:.1%}",
    )
