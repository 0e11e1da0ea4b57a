"""Quantized W8A8: 8-bit weights and inputs of the layers' matrices in several ways, and packages with --activations 8.

Simulated: plain, as in the paper, smoothed as in SmoothQuant, and with columns held out; each with per-token,
per-tensor and static ranges. Then packages as they run: their quality, and the speed of ONNX packages interleaved with
one without 8-bit activations.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.lib.arguments import add_model, add_rounds, add_text
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import described, open_model, windows_of
from benchmarks.lib.numerics import Mixed, SimulatedDecoder, float_ends
from benchmarks.lib.printing import Stages, megabytes, say, table, versions
from benchmarks.lib.timing import interleave, ratio
from benchmarks.lib.w8a8 import FLOAT, NAIVE, W8A8Ops, logits, ways
from edgesw.calibration.calibrate import calibrate
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.conversion.convert import convert
from edgesw.conversion.hold_out import find_super_weights
from edgesw.conversion.settings import Settings
from edgesw.outliers.detect import find_outliers
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.registry import open_decoder
from edgesw.text.texts import load_text, shipped_text
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.bench import measure_speed
from edgesw.validation.measure import Agreement, measure

BENCHMARK = Benchmark(
    "Quality of 8-bit activations in every way to quantize them, and quality and speed of packages that have them.",
    minutes=35,
    docs=(
        Section("docs/activations.md", "Compared with other methods"),
        Section("docs/activations.md", "Packages"),
    ),
)
COLUMNS = ("weights 8 bits a row; activations", "range", "perplexity", "over float", "recovered", "KL, nats")
PACKAGES = {
    "edgesw ONNX, float activations, blocks of 32": Settings(("onnx",), 8),
    "edgesw ONNX, per-token": Settings(("onnx",), 8, activations="per-token"),
    "edgesw ONNX, per-tensor (a call)": Settings(("onnx",), 8, activations="per-tensor"),
    "edgesw ONNX, static": Settings(("onnx",), 8, activations="static"),
    "the same, nothing held out": Settings(("onnx",), 8, activations="static", hold_out=False),
    "edgesw Core ML, static": Settings(("coreml",), 8, activations="static"),
}
PROMPT, STEPS = 128, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text(parser, 8)
    add_model(parser)
    add_rounds(parser, 9)
    parser.add_argument("--no-packages", action="store_true", help="only the simulated ways (5 minutes)")


def main(given: argparse.Namespace) -> None:
    checkpoint, tokenizer = open_model(given.model)
    text = load_text(given.text)
    ids = windows_of(text, checkpoint, tokenizer, given.windows)
    print(described(given.model, checkpoint, text.name, ids))
    print(f"{versions('onnxruntime', 'coremltools', 'numpy', 'torch')}.\n")
    reference = list(FloatLogits(checkpoint.spec, checkpoint, ids))
    print(table(COLUMNS, simulated(checkpoint, tokenizer, ids, reference), left=2), end="\n\n", flush=True)
    if not given.no_packages:
        print(packages(checkpoint, ids, reference, given.rounds))


def simulated(
    checkpoint: Checkpoint, tokenizer: Tokenizer, ids: np.ndarray, reference: list[np.ndarray]
) -> list[tuple[str, ...]]:
    """The rows of the simulated ways. Only the layers' matrices are quantized, everything else is float."""
    outliers = find_outliers(checkpoint, tokenizer, Stages())
    super_weights = find_super_weights(checkpoint, tokenizer, Stages())
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages())
    columns = [
        super_weights.hold_out(calibration.mean_squares, extremes).columns for extremes in ({}, calibration.extremes)
    ]
    weights = Mixed(checkpoint, frozenset(), checkpoint.tensor, float_ends(checkpoint))
    say(f"columns held out: {', '.join(str(sum(map(len, each.values()))) for each in columns)}")
    results: dict[tuple[str, str], Agreement] = {}
    for way in ways(checkpoint, calibration, outliers, *columns):
        say(f"{way.title}, {way.ranges}")
        decoder = SimulatedDecoder(logits(W8A8Ops(checkpoint.spec, weights, ids, way, calibration.extremes)))
        *_, (results[way.title, way.ranges],) = measure(ids, reference, [decoder])
    return [
        (title, "" if title == FLOAT else ranges, *_figures(result, results.get((NAIVE, ranges))))
        for (title, ranges), result in results.items()
    ]


def _figures(result: Agreement, naive: Agreement | None) -> tuple[str, ...]:
    """Perplexity, its increase, the share recovered of what the plain way loses (nats per token), and KL."""
    lost = math.log(result.perplexity / result.float_perplexity)
    back = "" if naive is None else f"{1 - lost / math.log(naive.perplexity / naive.float_perplexity):.0%}"
    return f"{result.perplexity:,.2f}", f"{result.increase:+.1%}", back, f"{result.kl_divergence:.4f}"


def packages(checkpoint: Checkpoint, ids: np.ndarray, reference: list[np.ndarray], rounds: int) -> str:
    """The table of packages, each in its runtime. ONNX packages are timed, interleaved."""
    with tempfile.TemporaryDirectory() as scratch:
        decoders: dict[str, PackagedDecoder] = {}
        sizes: dict[str, int] = {}
        for at, (title, settings) in enumerate(PACKAGES.items()):
            say(f"converting: {title}")
            manifest = convert(checkpoint, settings, Path(scratch) / str(at), force=False, progress=Stages())
            (name,) = settings.targets
            sizes[title] = manifest.model_bytes(name)
            decoders[title] = open_decoder(Path(scratch) / str(at), manifest, name)
        *_, results = measure(ids, reference, list(decoders.values()))
        timed = {title: decoder for title, decoder in decoders.items() if PACKAGES[title].targets == ("onnx",)}
        runners = {title: partial(_speed, decoder, ids[0][:PROMPT]) for title, decoder in timed.items()}
        speeds = interleave(runners, rounds)
    base, rows = next(iter(speeds.values())), []
    for (title, size), result in zip(sizes.items(), results, strict=True):
        prefill, decode = speeds.get(title, ([], []))
        ratios = (f"{ratio(prefill, base[0]):.2f}", f"{ratio(decode, base[1]):.2f}") if prefill else ("", "")
        quality = (f"{result.perplexity:,.2f}", f"{result.increase:+.1%}", f"{result.kl_divergence:.4f}")
        rows.append((title, megabytes(size), *quality, *ratios))
    columns = ("package", "size", "perplexity", "over float", "KL, nats", "prefill", "decode")
    return table(columns, rows) + f"\n\nPrefill of {PROMPT} tokens and decoding: times as fast as the first row."


def _speed(decoder: PackagedDecoder, prompt: np.ndarray) -> tuple[float, float]:
    speed = measure_speed(decoder, prompt, STEPS)
    return speed.prefill_per_second, speed.decode_per_second
