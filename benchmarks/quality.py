"""Perplexity, KL divergence and top-1 agreement of our packages, our other settings and our peers, in one run.

python benchmarks/quality.py --text FILE [--windows 8] [--model smollm2-135m]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from printing import say, table, versions
from rows import Bench, Row, eight_bit_ends, headline_layers, headline_rows, own_rows, package_rows, peer_rows

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.convert import convert
from edgesw.errors import EdgeswError
from edgesw.outliers.calibrate import CALIBRATION_WINDOWS, input_mean_squares
from edgesw.package import Manifest
from edgesw.plans import Settings, make_plans
from edgesw.runtime.torch import FloatLogits
from edgesw.targets import TARGETS
from edgesw.texts import Text, load_text, shipped_text, windows
from edgesw.tokenizer import Tokenizer
from edgesw.validate.measure import Agreement, measure

TOKENS = 512  # per window, BOS included
COLUMNS = ("decoder", "run by", "bits per weight", "perplexity", "over float", "KL, nats", "top-1")
NOTES = (
    "bits per weight: stored for the layers' matrices, counting codes, scales, zero points, palettes and corrections; "
    "the scales are float32 in ONNX and float16 elsewhere.",
    "numerics only: the matrices are dequantised and run in the float decoder; no such package was written or run.",
    "Embedding and head are the same in all rows but the first: 8 bits, blocks of 32. Only the layers differ.",
    "Our rows are fitted to activations on the calibration text that ships; the peers, by their defaults, to nothing.",
    "coremltools gets its exact k-means for all groups; for small ones it would use scikit-learn's, a little worse.",
)


class _Stages:
    """Says when the conversion begins a new stage."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, stage: str, detail: str, done: int, total: int) -> None:
        if stage != self._last:
            say(f"edgesw convert: {stage}")
            self._last = stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", help="UTF-8 file, or wikitext2 (default: the validation text that ships)")
    parser.add_argument("--windows", type=int, default=8, help=f"windows of {TOKENS} tokens (default: 8)")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    given = parser.parse_args()
    if given.windows < 1:
        parser.error("--windows must be at least 1")
    try:
        run(given.model, load_text(given.text), given.windows)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def run(model: str, text: Text, count: int) -> None:
    """Convert, measure and print."""
    checkpoint = open_checkpoint(model)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    tokens = min(TOKENS, checkpoint.spec.max_positions)
    ids = windows(text, tokenizer, count, tokens)
    settings = Settings(tuple(TARGETS))
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package"
        manifest = convert(checkpoint, settings, package, force=False, progress=_Stages())
        bench = _bench(checkpoint, tokenizer, ids, manifest)
        rows = [*package_rows(bench, package, manifest, settings), *own_rows(bench), *peer_rows(bench)]
        headline = list(headline_rows(bench)) if bench.held_out else []
        results = _measure(bench, [*rows, *headline])
    print(f"{model} ({checkpoint.source.origin}) on {text.name} (SHA-256 {text.sha256[:12]}), ", end="")
    print(f"{len(ids)} windows of {ids.shape[1]} tokens, BOS included.")
    print(f"{versions('coremltools', 'onnxruntime', 'gguf', 'numpy', 'torch')}.\n")
    float_row = ("float", "float decoder", "32", f"{results[0].float_perplexity:,.2f}", "", "0", "100%")
    print(table(COLUMNS, [float_row, *map(_cells, rows, results)], left=2), end="\n\n")
    print("\n".join(f"- {note}" for note in (*NOTES, *_source_notes(checkpoint))))
    _print_headline(bench, headline, results[len(rows) :])


def _bench(checkpoint: Checkpoint, tokenizer: Tokenizer, ids: np.ndarray, manifest: Manifest) -> Bench:
    spec = checkpoint.spec
    say("calibrating, for the rows without a package")
    calibration = windows(shipped_text("calibration"), tokenizer, CALIBRATION_WINDOWS, min(TOKENS, spec.max_positions))
    importance = input_mean_squares(spec, checkpoint, calibration)
    say("compressing embedding and head")
    ends = eight_bit_ends(checkpoint, make_plans(spec, Settings(("coreml",))).by_target["coreml"])
    held_out = tuple((weight["layer"], weight["row"], weight["column"]) for weight in manifest.held_out)
    return Bench(checkpoint, ids, importance, held_out, manifest.held_out_columns, ends)


def _measure(bench: Bench, rows: list[Row]) -> list[Agreement]:
    """All rows beside one pass of the float model."""
    reference = FloatLogits(bench.checkpoint.spec, bench.checkpoint, bench.ids)
    so_far = []
    for results in measure(bench.ids, reference, [row.decoder for row in rows]):
        so_far.append(results)
        say(f"measured {len(rows)} rows on window {len(so_far)} of {len(bench.ids)}")
    return so_far[-1]


def _cells(row: Row, result: Agreement) -> tuple[str, ...]:
    perplexity = f"{result.perplexity:,.2f}" if result.perplexity < 1000 else f"{result.perplexity:,.0f}"
    over = f"{round(result.increase, 3) + 0.0:+.1%}" if result.increase < 10 else f"x {result.increase + 1:,.0f}"
    bits = "" if row.bits is None else f"{row.bits:.2f}"
    return (
        row.title,
        result.runtime,
        bits,
        perplexity,
        over,
        f"{result.kl_divergence:.4f}",
        f"{result.top1_agreement:.1%}",
    )


def _source_notes(checkpoint: Checkpoint) -> list[str]:
    """What must be known about a source that was quantised already."""
    if checkpoint.source.kind != "gguf":
        return []
    from gguf import GGUFReader

    types = Counter(tensor.tensor_type.name for tensor in GGUFReader(checkpoint.source.path).tensors)
    stored = ", ".join(f"{count} {name}" for name, count in types.most_common())
    if "Q4_1" not in types:
        return [f"The float model is a dequantised GGUF file ({stored} tensors)."]
    return [
        f"The float model is a dequantised Q4_1 file ({stored} tensors): grids of 4 bits with zero points over "
        "blocks of 32, ours and the peers', may be kinder to it than to other models; Q4_1 would return it bit by bit."
    ]


def _print_headline(bench: Bench, rows: list[Row], results: list[Agreement]) -> None:
    layers = headline_layers(bench)
    if not bench.held_out:
        print("\nNo super weights were found in this model, so there is no case for holding them out.")
        return
    held = ", ".join(f"layer {layer} [{row}, {column}]" for layer, row, column in bench.held_out)
    print(
        f"\nOnly down_proj of layers {' and '.join(map(str, layers))} in one 4-bit palette per tensor, fitted to ",
        end="",
    )
    print(f"plain squared error; everything else float. Super weights: {held}.\n")
    print(table(COLUMNS, list(map(_cells, rows, results)), left=2))


if __name__ == "__main__":
    main()
