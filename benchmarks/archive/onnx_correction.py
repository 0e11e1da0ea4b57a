"""Closed: what do the columns held out of a matrix cost an ONNX decoder per token, at real sizes?

At Mistral 7B's sizes the cost of four columns is lost in noise of about 1%: see docs/speed.md. The products of
one layer in Mistral 7B's and in SmolLM2-135M's shape, 4 bits in blocks of 32 with zero points, one token: with and
without the correction, interleaved. Where a model lies in memory changes its speed by a twentieth, so each is loaded
many times, and the fastest run of each load counts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from benchmarks.lib.arguments import at_least
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.printing import say, table, versions
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compression import compress_matrix
from edgesw.compress.hold_out import MatrixHoldOut
from edgesw.emit.external_data import ExternalData
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_linear import corrected, product, write_blocks

BENCHMARK = Benchmark(
    "What held-out columns cost an ONNX decoder per token, at Mistral 7B's and SmolLM2's sizes.",
    minutes=2,
    docs=(Section("docs/speed.md", "ONNX packages compared with onnxruntime-genai's model builder"),),
)
RUNS = 30  # of each load
SCHEME = BlockScheme(4, 32, True)
# (rows, columns) of queries, keys and values together, of the output, of gate and up together, and of down.
SHAPES = {
    "Mistral 7B": ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336)),
    "SmolLM2-135M": ((960, 576), (576, 576), (3072, 576), (576, 1536)),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--columns", type=at_least(1), default=4, help="held out of each matrix (4)")
    parser.add_argument("--loads", type=at_least(1), default=15, help="of each model (15)")
    parser.add_argument("--threads", type=at_least(1), default=1, help="(1)")


def main(given: argparse.Namespace) -> None:
    rows = []
    for layer, shapes in SHAPES.items():
        say(f"{layer}: compressing a layer")
        with tempfile.TemporaryDirectory() as folder:
            held_out = {"plain": 0, "whole": given.columns, "again": 0}
            models = [write_layer(Path(folder) / f"{name}.onnx", shapes, each) for name, each in held_out.items()]
            say(f"{layer}: timing")
            seconds = time_models(models, shapes, given.loads, given.threads)
        plain, whole, again = map(statistics.median, seconds)
        times = (f"{1e6 * each:,.0f}" for each in (plain, whole))
        rows.append((layer, *times, f"{whole / plain - 1:+.1%}", f"{again / plain - 1:+.1%}"))
    print(f"{given.columns} columns of each matrix held out, {given.threads} threads, medians of {given.loads} loads.")
    print(f"{versions('onnxruntime', 'numpy')}.\n")
    print(table(("products of a layer", "without, us", "with, us", "more", "without, once more"), rows))


def write_layer(path: Path, shapes: Sequence[tuple[int, int]], columns: int) -> Path:
    """Writes a model of these products, each with an input of its own."""
    draw = np.random.default_rng(0)
    held_out = MatrixHoldOut(tuple(range(7, 7 + 97 * columns, 97)))
    inputs, outputs = [], []
    with ExternalData(path.with_name(path.name + ".data")) as data:
        graph = OnnxGraph(data)
        for at, (rows, width) in enumerate(shapes):
            weights = draw.normal(0, 0.05, (rows, width)).astype(np.float32)
            matrices = [compress_matrix(weights, SCHEME, hold_out=held_out)]
            x, name = f"x{at}", f"product{at}"
            y = product(graph, x, name, write_blocks(graph, name, matrices))
            graph.node("Identity", [corrected(graph, x, y, name, matrices)], f"y{at}")
            inputs.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, "tokens", width]))
            outputs.append(helper.make_tensor_value_info(f"y{at}", TensorProto.FLOAT, [1, "tokens", rows]))
    graph.save(path, "layer", inputs, outputs)
    return path


def time_models(
    models: Sequence[Path], shapes: Sequence[tuple[int, int]], loads: int, threads: int
) -> list[list[float]]:
    """Seconds of the fastest run of each load, model by model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    feeds = {f"x{at}": np.ones((1, 1, width), np.float32) for at, (_, width) in enumerate(shapes)}
    seconds: list[list[float]] = [[] for _ in models]
    for _ in range(loads):
        sessions = [onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in models]
        fastest = [float("inf")] * len(models)
        for _ in range(RUNS):
            for at, session in enumerate(sessions):
                began = time.perf_counter()
                session.run(None, feeds)
                fastest[at] = min(fastest[at], time.perf_counter() - began)
        for taken, best in zip(seconds, fastest, strict=True):
            taken.append(best)
    return seconds
