"""Weights and activations in 8 bits: plainly, as the paper does it, smoothed, with columns held out; and our packages.

python benchmarks/activations.py [--text FILE] [--windows 8] [--model smollm2-135m] [--rounds 9] [--no-packages]
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from bench import TOKENS
from numerics import Mixed
from printing import megabytes, say, table, versions
from rounded import FLOAT, NAIVE, Computed, RoundedOps, ways

from edgesw.calibration.calibrate import calibrate
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.conversion.convert import convert
from edgesw.conversion.hold_out import find_held_out
from edgesw.conversion.plans import Settings
from edgesw.errors import EdgeswError
from edgesw.outliers.detect import find_outliers
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets.targets import TARGETS
from edgesw.text.texts import load_text, shipped_text, windows
from edgesw.text.tokenizer import Tokenizer
from edgesw.validate.measure import Agreement, measure

COLUMNS = ("weights 8 bits a row; activations", "range", "perplexity", "over float", "won back", "KL, nats")
PACKAGES = {
    "edgesw ONNX, no activations in 8 bits, blocks of 32": Settings(("onnx",), 8),
    "edgesw ONNX, range of a token": Settings(("onnx",), 8, ranges="token"),
    "edgesw ONNX, range of a call": Settings(("onnx",), 8, ranges="tensor"),
    "edgesw ONNX, fixed ranges": Settings(("onnx",), 8, ranges="static"),
    "the same, nothing held out": Settings(("onnx",), 8, ranges="static", hold_out=False),
    "edgesw Core ML, fixed ranges": Settings(("coreml",), 8, ranges="static"),
}
PROMPT, STEPS = 128, 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", help="UTF-8 file, or wikitext2 (default: the validation text that ships)")
    parser.add_argument("--windows", type=int, default=8, help="windows of 512 tokens (default: 8)")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    parser.add_argument("--rounds", type=int, default=9, help="of the interleaved timing (default: 9)")
    parser.add_argument("--no-packages", action="store_true", help="numerics only")
    given = parser.parse_args()
    try:
        checkpoint = open_checkpoint(given.model)
        tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), given.model)
        text = load_text(given.text)
        ids = windows(text, tokenizer, given.windows, min(TOKENS, checkpoint.spec.max_positions))
        print(
            f"{given.model} ({checkpoint.source.origin}) on {text.name}: {len(ids)} windows of {ids.shape[1]} tokens."
        )
        print(f"{versions('onnxruntime', 'coremltools', 'numpy', 'torch')}.\n")
        reference = list(FloatLogits(checkpoint.spec, checkpoint, ids))
        print(table(COLUMNS, numerics(checkpoint, tokenizer, ids, reference), left=2), end="\n\n", flush=True)
        if not given.no_packages:
            print(packages(checkpoint, ids, reference, given.rounds))
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def numerics(
    checkpoint: Checkpoint, tokenizer: Tokenizer, ids: np.ndarray, reference: list[np.ndarray]
) -> list[tuple[str, ...]]:
    """Rows of the table of ways: embedding, head and what is between the layers' matrices in float."""
    say("finding super weights, calibrating")
    outliers = find_outliers(checkpoint, tokenizer, _quiet)
    held_out = find_held_out(checkpoint, tokenizer, _quiet)
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), _quiet)
    columns = [
        held_out.with_columns(calibration.mean_squares, extremes).columns for extremes in ({}, calibration.extremes)
    ]
    ends = {"embed_tokens": checkpoint.tensor("embed_tokens"), "lm_head": checkpoint.tensor("lm_head")}
    weights = Mixed(checkpoint, frozenset(), checkpoint.tensor, ends)
    say(f"columns held out: {', '.join(str(sum(map(len, each.values()))) for each in columns)}")
    results: dict[tuple[str, str], Agreement] = {}
    for way in ways(checkpoint, calibration, outliers, *columns):
        say(f"{way.title}, {way.ranges}")
        decoder = Computed(RoundedOps(checkpoint.spec, weights, ids, way, calibration.extremes))
        *_, (results[way.title, way.ranges],) = measure(ids, reference, [decoder])
    return [
        (title, "" if title == FLOAT else ranges, *_figures(result, results.get((NAIVE, ranges))))
        for (title, ranges), result in results.items()
    ]


def _figures(result: Agreement, naive: Agreement | None) -> tuple[str, ...]:
    """Perplexity, its increase, the share of the plain way's loss (nats a token over float) that is won back, KL."""
    lost = math.log(result.perplexity / result.float_perplexity)
    back = "" if naive is None else f"{1 - lost / math.log(naive.perplexity / naive.float_perplexity):.0%}"
    return f"{result.perplexity:,.2f}", f"{result.increase:+.1%}", back, f"{result.kl_divergence:.4f}"


def packages(checkpoint: Checkpoint, ids: np.ndarray, reference: list[np.ndarray], rounds: int) -> str:
    """The table of packages: each runs in its runtime; ONNX ones are timed, interleaved."""
    with tempfile.TemporaryDirectory() as scratch:
        decoders, sizes = {}, {}
        for at, (title, settings) in enumerate(PACKAGES.items()):
            say(f"converting: {title}")
            manifest = convert(checkpoint, settings, Path(scratch) / str(at), force=False, progress=_quiet)
            (name,) = settings.targets
            path = Path(scratch) / str(at) / manifest.models[name]
            sizes[title] = sum(entry["bytes"] for file, entry in manifest.files.items() if file.startswith(path.name))
            decoders[title] = TARGETS[name].run(path, manifest.context, "float16", None)
        *_, results = measure(ids, reference, list(decoders.values()))
        timed = {title: decoder for title, decoder in decoders.items() if PACKAGES[title].targets == ("onnx",)}
        prefill, decode = _speeds(timed, ids[0], rounds)
    rows = []
    for (title, size), result in zip(sizes.items(), results, strict=True):
        speeds = (_beside(prefill, title), _beside(decode, title)) if title in timed else ("", "")
        quality = (f"{result.perplexity:,.2f}", f"{result.increase:+.1%}", f"{result.kl_divergence:.4f}")
        rows.append((title, megabytes(size), *quality, *speeds))
    named = ("package", "size", "perplexity", "over float", "KL, nats", "prefill", "decode")
    return table(named, rows) + f"\n\nPrefill of {PROMPT} tokens and decoding: times as fast as the first row."


def _speeds(
    decoders: Mapping[str, PackagedDecoder], ids: np.ndarray, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds by title, in every round one after the other; the first round warms up and does not count."""
    prefill: dict[str, list[float]] = {title: [] for title in decoders}
    decode: dict[str, list[float]] = {title: [] for title in decoders}
    for at in range(rounds + 1):
        say(f"timing, round {at} of {rounds}")
        for title, decoder in decoders.items():
            decoder.reset()
            began = time.perf_counter()
            decoder.prefill(ids[:PROMPT])
            read = time.perf_counter()
            for token in ids[PROMPT : PROMPT + STEPS]:
                decoder.prefill(np.array([token]))
            if at:
                prefill[title].append(read - began)
                decode[title].append(time.perf_counter() - read)
    return prefill, decode


def _beside(seconds: Mapping[str, Sequence[float]], title: str) -> str:
    first = next(iter(seconds.values()))
    return f"{np.median(np.divide(first, seconds[title])):.2f}"


def _quiet(stage: str, detail: str, done: int, total: int) -> None:
    """No progress of the library's: `say` tells what is being done."""


if __name__ == "__main__":
    main()
