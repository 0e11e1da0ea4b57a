"""What becomes of a super activation when the matrices that prepare it are compressed, and what brings it back.

python benchmarks/super_activation.py [--bits 3] [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from bench import make_bench
from numerics import Mixed
from printing import say, table, versions

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.spec import Coordinates
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.convert import compressed_decoder
from edgesw.decoder.ops import Weights
from edgesw.errors import EdgeswError
from edgesw.plans import Settings, make_plans
from edgesw.runtime.torch import TorchOps, residual_stream
from edgesw.texts import shipped_text, windows
from edgesw.tokenizer import Tokenizer

TOKENS = 64
COLUMNS = ("compressed", "super activation", "of float", "input of the super weight", "of float")
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
    ids = windows(shipped_text("validation"), tokenizer, 1, TOKENS)
    bench = make_bench(checkpoint, tokenizer, ids)
    if not bench.held_out.values:
        sys.exit(f"Error: no super weights were found in {model}.")
    place = max(bench.held_out.values, key=lambda place: abs(bench.held_out.values[place]))
    plan = make_plans(checkpoint.spec, Settings(("coreml",), bits, "palette")).by_target["coreml"]
    exact = measure(checkpoint, checkpoint, ids, place)
    rows = [("nothing (float)", exact)]
    weighted = CompressedDecoder(
        checkpoint, plan, bench.calibration.mean_squares, bench.held_out.values, bench.held_out.columns
    )
    scalars = CompressedDecoder(checkpoint, plan, bench.calibration.mean_squares, bench.held_out.values)
    plain = CompressedDecoder(checkpoint, plan, None, bench.held_out.values)
    every = frozenset(checkpoint.spec.matrices())
    for title, decoder, names in [
        ("all, by squared error; super weights held out", plain, every),
        ("all, weighted; super weights held out", scalars, every),
        *((f"{title}, weighted; super weights held out", scalars, names) for title, names in parts(plan, place)),
        ("all, weighted; spiking columns held out", weighted, every),
        ("all, compensated", compressed_decoder(checkpoint, plan, bench.calibration, bench.held_out), every),
    ]:
        say(title)
        made = Mixed(checkpoint, names, decoder.tensor, {})
        rows.append((title, measure(checkpoint, made, ids, place)))
    say("all, weighted, with the rows that make its input in float")
    rows.append(
        (
            "all, weighted, but the rows that make its input",
            measure(checkpoint, _Rows(weighted, checkpoint, place), ids, place),
        )
    )
    print(f"{model}, palettes of {bits} bits and 16 rows. {versions('torch')}.")
    print(f"Super weight: layer {place[0]} [{place[1]}, {place[2]}].\n")
    print(table(COLUMNS, [_cells(title, spike, exact) for title, spike in rows]))


def parts(plan: CompressionPlan, place: Coordinates) -> Iterator[tuple[str, frozenset[str]]]:
    """The matrices that the super activation comes from, taken apart."""
    layer = place[0]
    before = [m.name for m in plan.layers if int(m.name.split(".")[1]) < layer]
    attention = frozenset(name for name in before if name.rsplit(".", 1)[-1] in ATTENTION)
    yield f"layers 0 to {layer - 1}", frozenset(before)
    yield f"attention of layers 0 to {layer - 1}", attention
    yield f"MLPs of layers 0 to {layer - 1}", frozenset(before) - attention
    yield f"attention of layer {layer}", frozenset(f"layers.{layer}.{kind}" for kind in ATTENTION)
    yield f"gate_proj and up_proj of layer {layer}", frozenset(f"layers.{layer}.{kind}_proj" for kind in ("gate", "up"))
    yield f"down_proj of layer {layer}", frozenset((f"layers.{layer}.down_proj",))


class _Rows:
    """Compressed matrices, but for the rows of gate_proj and up_proj that make the super weight's input."""

    def __init__(self, compressed: CompressedDecoder, weights: Weights, place: Coordinates) -> None:
        self._compressed, self._weights, self._place = compressed, weights, place

    def tensor(self, name: str) -> np.ndarray:
        layer, _, column = self._place
        if not name.startswith("layers."):
            return self._weights.tensor(name)
        values = self._compressed.tensor(name)
        if name in (f"layers.{layer}.gate_proj", f"layers.{layer}.up_proj"):
            values[column] = self._weights.tensor(name)[column]
        return values

    def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._weights.rows(name, rows)


def measure(checkpoint: Checkpoint, weights: Weights, ids: np.ndarray, place: Coordinates) -> Spike:
    """Run up to the super weight's layer."""
    layer, _, column = place
    inputs: list[float] = []

    def observe(name: str, x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> None:
        if name == f"layers.{layer}.down_proj":
            inputs.append(float(x[..., column].abs().max()))

    stream = residual_stream(TorchOps(checkpoint.spec, weights, ids, observe))
    *_, last = (x for _, x in zip(range(layer + 2), stream, strict=False))
    return Spike(float(last.abs().max()), inputs[0])


def _cells(title: str, spike: Spike, exact: Spike) -> tuple[str, ...]:
    return (
        title,
        f"{spike.activation:,.0f}",
        f"{spike.activation / exact.activation:.1%}",
        f"{spike.spike:,.0f}",
        f"{spike.spike / exact.spike:.1%}",
    )


if __name__ == "__main__":
    main()
