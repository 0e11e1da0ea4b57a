"""What becomes of a super activation when the matrices that prepare it are compressed, and what brings it back.

python benchmarks/super_activation.py [--bits 3] [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from bench import TOKENS, Bench, make_bench
from numerics import Matrices, Mixed
from printing import say, table, versions

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.conversion.convert import compressed_decoder
from edgesw.conversion.plans import Settings, make_plans
from edgesw.errors import EdgeswError
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.torch import FloatLogits, TorchOps, residual_stream
from edgesw.text.texts import shipped_text, windows
from edgesw.text.tokenizer import Tokenizer
from edgesw.validate.measure import Agreement, measure

FRACTION = 5e-4  # of each matrix's scalars, where some are held out by their harm
COLUMNS = ("compressed", "super activation", "of float", "input of the super weight", "of float", "KL, nats")
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@dataclass(frozen=True)
class Spike:
    """What the decoder makes at the super weight: the largest magnitude in the residual stream after its layer, and
    the largest input of its column."""

    activation: float
    spike: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bits", type=int, default=3, help="palettes of 16 rows with so many bits (default: 3)")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    given = parser.parse_args()
    try:
        run(given.model, given.bits)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def run(model: str, bits: int) -> None:
    """Detect, calibrate, compress in many ways and print."""
    checkpoint = open_checkpoint(model)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    bench = make_bench(checkpoint, tokenizer, windows(shipped_text("validation"), tokenizer, 1, TOKENS))
    values = bench.held_out.values
    if not values:
        sys.exit(f"Error: no super weights were found in {model}.")
    layer = min(layer for layer, _, _ in values)
    inputs = {place: spike(bench, checkpoint.tensor, place).spike for place in values if place[0] == layer}
    place = max(inputs, key=lambda place: abs(values[place]) * inputs[place])
    plan = make_plans(checkpoint.spec, Settings(("coreml",), bits, "palette")).by_target["coreml"]
    exact = spike(bench, checkpoint.tensor, place)
    print(f"{model}, palettes of {bits} bits and 16 rows, embedding and head in float. {versions('torch')}.")
    print(f"Super weight: layer {layer} [{place[1]}, {place[2]}]. KL on {TOKENS} tokens of the text that ships.\n")
    reference = list(FloatLogits(checkpoint.spec, checkpoint, bench.ids))
    rows = [("nothing (float)", f"{exact.activation:,.0f}", "", f"{exact.spike:,.0f}", "", "0")]
    for title, matrices in ways(bench, plan, place, exact):
        say(title)
        made = spike(bench, matrices, place)
        rows.append((title, *_cells(made, exact), f"{divergence(bench, reference, matrices):.4f}"))
    print(table(COLUMNS, rows))


def ways(bench: Bench, plan: CompressionPlan, place: Coordinates, exact: Spike) -> Iterator[tuple[str, Matrices]]:
    """Titles, and the layers' matrices that they stand for."""
    squares, values, columns = bench.calibration.mean_squares, bench.held_out.values, bench.held_out.columns
    some = replace(bench.held_out, fraction=FRACTION)
    weighted = kept(bench, CompressedDecoder(bench.checkpoint, plan, squares, values))
    column_wise = kept(bench, CompressedDecoder(bench.checkpoint, plan, squares, values, columns))
    yield "all, by squared error", kept(bench, CompressedDecoder(bench.checkpoint, plan))
    plain = CompressedDecoder(bench.checkpoint, plan, None, values)
    yield "all, by squared error; super weights held out", kept(bench, plain)
    yield "all, weighted; super weights held out", weighted
    for title, names in parts(plan, place):
        yield f"{title}, weighted; super weights held out", of(bench, names, weighted)
    yield "all, weighted; spiking columns held out", column_wise
    yield "the same, super weights scaled to the float activation", refitted(bench, column_wise, place, exact)
    yield "the same, the rows that make its input in float instead", with_rows(bench, column_wise, place)
    scalars = CompressedDecoder(bench.checkpoint, plan, squares, values, columns, FRACTION)
    yield f"the same, {FRACTION:g} of scalars held out instead", kept(bench, scalars)
    made_up = kept(bench, compressed_decoder(bench.checkpoint, plan, bench.calibration, bench.held_out))
    yield "all, compensated; spiking columns held out", made_up
    yield "the same, super weights scaled to the float activation", refitted(bench, made_up, place, exact)
    both = kept(bench, compressed_decoder(bench.checkpoint, plan, bench.calibration, some))
    yield f"all, compensated; spiking columns and {FRACTION:g} of scalars held out", both


def parts(plan: CompressionPlan, place: Coordinates) -> Iterator[tuple[str, frozenset[str]]]:
    """The matrices that the super activation comes from, taken apart."""
    layer = place[0]
    before = [m.name for m in plan.layers if int(m.name.split(".")[1]) < layer]
    attention = frozenset(name for name in before if name.rsplit(".", 1)[-1] in ATTENTION)
    for one in range(layer):
        yield f"layer {one}", frozenset(name for name in before if int(name.split(".")[1]) == one)
    yield f"layers 0 to {layer - 1}", frozenset(before)
    yield f"attention of layers 0 to {layer - 1}", attention
    yield f"MLPs of layers 0 to {layer - 1}", frozenset(before) - attention
    yield f"attention of layer {layer}", frozenset(f"layers.{layer}.{kind}" for kind in ATTENTION)
    yield f"gate_proj and up_proj of layer {layer}", frozenset(f"layers.{layer}.{kind}_proj" for kind in ("gate", "up"))
    yield f"down_proj of layer {layer}", frozenset((f"layers.{layer}.down_proj",))


def kept(bench: Bench, decoder: CompressedDecoder) -> Matrices:
    """All layers' matrices as this decoder has them, compressed once: compensation gives each only once."""
    tensors = {name: decoder.tensor(name) for name in bench.checkpoint.spec.matrices()}
    return tensors.__getitem__


def of(bench: Bench, names: frozenset[str], matrices: Matrices) -> Matrices:
    """These of them, and the others in float."""
    return lambda name: matrices(name) if name in names else bench.checkpoint.tensor(name)


def with_rows(bench: Bench, matrices: Matrices, place: Coordinates) -> Matrices:
    """These, but for the rows of gate_proj and up_proj that make the inputs of the layer's super weights."""
    layer, columns = place[0], _columns(bench, place)

    def tensor(name: str) -> np.ndarray:
        values = matrices(name)
        if name in (f"layers.{layer}.gate_proj", f"layers.{layer}.up_proj"):
            values = values.copy()
            values[columns] = bench.checkpoint.tensor(name)[columns]
        return values

    return tensor


def refitted(bench: Bench, matrices: Matrices, place: Coordinates, exact: Spike) -> Matrices:
    """These, but for the columns of the layer's super weights, scaled until the super activation is as in float."""
    layer, columns = place[0], _columns(bench, place)
    scale = exact.activation / spike(bench, matrices, place).activation

    def tensor(name: str) -> np.ndarray:
        values = matrices(name)
        if name == f"layers.{layer}.down_proj":
            values = values.copy()
            values[:, columns] *= scale
        return values

    return tensor


def _columns(bench: Bench, place: Coordinates) -> list[int]:
    """Those of the super weights in the layer of this one."""
    return sorted({column for layer, _, column in bench.held_out.values if layer == place[0]})


def spike(bench: Bench, matrices: Matrices, place: Coordinates) -> Spike:
    """Run up to the super weight's layer."""
    layer, _, column = place
    inputs: list[float] = []

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if name == f"layers.{layer}.down_proj":
            inputs.append(float(x[..., column].abs().max()))

    stream = residual_stream(
        TorchOps(bench.checkpoint.spec, Mixed(bench.checkpoint, bench.layers, matrices, {}), bench.ids, observe)
    )
    *_, last = (x for _, x in zip(range(layer + 2), stream, strict=False))
    return Spike(float(last.abs().max()), inputs[0])


def divergence(bench: Bench, reference: list[np.ndarray], matrices: Matrices) -> float:
    """KL divergence from the float model's logits of each window, nats."""
    decoder = bench.numerics(matrices, bench.layers, ends=False)
    results: list[list[Agreement]] = list(measure(bench.ids, reference, [decoder]))
    return results[-1][0].kl_divergence


def _cells(made: Spike, exact: Spike) -> tuple[str, ...]:
    return (
        f"{made.activation:,.0f}",
        f"{made.activation / exact.activation:.1%}",
        f"{made.spike:,.0f}",
        f"{made.spike / exact.spike:.1%}",
    )


if __name__ == "__main__":
    main()
