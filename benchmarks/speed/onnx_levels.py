"""What 8-bit inputs of products cost and save in an ONNX package: accuracy_level 4 compared with 0.

The same package except for that attribute of MatMulNBits, interleaved, on all cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from benchmarks.lib.arguments import add_rounds, add_text
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import open_model, windows_of
from benchmarks.lib.printing import table, versions
from benchmarks.lib.timing import interleave
from edgesw.emit.onnx_linear import ACCURACY_LEVEL
from edgesw.package.manifest import read_manifest
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_text
from edgesw.validation.bench import measure_speed
from edgesw.validation.measure import measure

BENCHMARK = Benchmark(
    "Speed and quality of an ONNX package with and without 8-bit inputs of products (accuracy_level).",
    minutes=3,
    docs=(Section("docs/formats.md", "ONNX"),),
)
LEVELS = (0, ACCURACY_LEVEL)
PROMPT, TOKENS = 128, 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, help="a package with an ONNX model")
    parser.add_argument("--against", required=True, metavar="MODEL", help="the float model")
    add_text(parser, 4)
    add_rounds(parser, 5)


def main(given: argparse.Namespace) -> None:
    manifest = read_manifest(given.package)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / manifest.models["onnx"].path
        for name in (model.name, f"{model.name}.data"):
            shutil.copy(given.package / name, folder)
        decoders = {str(level): OnnxDecoder(with_level(model, level), manifest.context) for level in LEVELS}
    prompt = np.random.default_rng(0).integers(0, manifest.decoder.vocab_size, PROMPT)
    speeds = interleave({level: partial(_speed, decoder, prompt) for level, decoder in decoders.items()}, given.rounds)
    checkpoint, tokenizer = open_model(given.against)
    ids = windows_of(load_text(given.text), checkpoint, tokenizer, given.windows)
    *_, results = measure(ids, FloatLogits(checkpoint.spec, checkpoint, ids), [*decoders.values()])
    rows = [
        (
            level,
            f"{statistics.median(prefill):.0f}",
            f"{statistics.median(decode):.1f}",
            f"{result.increase:+.2%}",
            f"{result.kl_divergence:.4f}",
        )
        for (level, (prefill, decode)), result in zip(speeds.items(), results, strict=True)
    ]
    print(f"A prompt of {PROMPT} tokens and {TOKENS} more, medians of {given.rounds} rounds; {given.windows} windows.")
    print(f"{versions('onnxruntime', 'numpy')}.\n")
    print(table(("accuracy_level", "prefill/s", "decode/s", "over float", "KL, nats"), rows))


def with_level(model: Path, level: int) -> Path:
    """Writes a copy of an ONNX model next to it, with this accuracy_level in every product that has one."""
    graph = onnx.load(model, load_external_data=False)
    for node in graph.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = level
    copy = model.with_name(f"level-{level}.onnx")
    onnx.save_model(graph, str(copy))
    return copy


def _speed(decoder: OnnxDecoder, prompt: np.ndarray) -> tuple[float, float]:
    speed = measure_speed(decoder, prompt, TOKENS)
    return speed.prefill_per_second, speed.decode_per_second
