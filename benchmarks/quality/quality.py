"""How far each way to compress a model is from the float model: edgesw, its other settings, and peers.

Perplexity, KL divergence, top-1 agreement and stored bits per weight, over windows of 512 tokens:

- edgesw's Core ML and ONNX packages as `edgesw convert` writes them by default, run in Core ML (off a Mac in the MIL
  interpreter, in float16) and in onnxruntime;
- simulated (dequantized matrices in the float decoder): palettes per tensor and for 32, 16 and 8 rows, blocks of 16,
  32, 64, 128 and whole rows, at 2, 3 and 4 bits; each plain, with hold-out, weighted by activations, and compensated;
  and palettes in mixed precision with 0.0005 of the scalars held out, at a little less than 4.6, 3.6 and 2.5 bits;
- peers, each by its own quantizer and simulated too: onnxruntime (round-to-nearest, k-quant, HQQ), coremltools (block
  integers, palettes) and llama.cpp (Q4_0 and k-quants, with and without an importance matrix);
- in a second table, one palette per tensor for the layers of the super weights alone: what hold-out is for.

A row of SmolLM2-135M takes half a minute on two idle cores, a compensated one five. --rows and --only choose rows, so
that the table can be made in pieces: --json FILE saves them after every 3, and prints all that FILE has.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.lib.arguments import add_model, add_text
from benchmarks.lib.bench import Bench, Package, default_settings, make_bench
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import described, open_model, windows_of
from benchmarks.lib.printing import say, table, versions
from benchmarks.lib.results import COLUMNS, Result, load_measured, measurement_key
from benchmarks.lib.rows import Row, headline_layers, headline_rows, make_all, own_rows, package_rows, peer_rows
from benchmarks.peers import coremltools_quantizers, llama_cpp_quantizers, onnxruntime_quantizers
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import Text, load_text
from edgesw.validation.measure import measure

BENCHMARK = Benchmark(
    "Perplexity, KL divergence and top-1 agreement of packages, of every setting and of peers, at their stored bits.",
    minutes=180,
    docs=(
        Section("README.md", "How it compares"),
        Section("docs/quality.md", "SmolLM2-135M as published"),
        Section("docs/quality.md", "One palette for two matrices"),
        Section("docs/quality.md", "SmolLM2-135M, off its grid"),
        Section("docs/quality.md", "stories260K"),
    ),
)
AT_ONCE = 3  # rows that are measured side by side, then saved
PEERS = (*onnxruntime_quantizers.PEERS, *coremltools_quantizers.PEERS, *llama_cpp_quantizers.PEERS)
NOTES = (
    "bits per weight: stored for the layers' matrices, counting codes, scales, zero points, palettes and corrections; "
    "the scales are float32 in edgesw's ONNX packages and float16 elsewhere.",
    "simulated: the matrices are dequantized and run in the float decoder; no such package was written or run.",
    "Embedding and head are the same in all rows but the first: 8 bits, blocks of 32. Only the layers differ.",
    "edgesw: plain minimizes the squared error; weighted, the error times the mean squares of inputs; compensated, the "
    "error of products, by the Hessian of inputs that passed the compressed layers before; both use the calibration "
    "text in the package. By default the peers use no text, except llama.cpp with an importance matrix: mean squares "
    "of inputs on the same text.",
    "coremltools uses its exact k-means for all groups; by default small ones get scikit-learn's, a little worse.",
)
JOINED = (
    "llama.cpp's k-quants store 256 weights of a row together. Where rows are not multiples of 256 it uses older types "
    "of more bits, as the types in brackets show; 'rows joined' passes it several rows as one, as no real file does."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_text(parser, 8)
    add_model(parser)
    choices = ("all", "edgesw", "peers", "one-palette")
    parser.add_argument("--rows", choices=choices, default="all", help="which to measure (all)")
    parser.add_argument("--only", default="", metavar="WORDS", help="rows whose title has these words, or one of A|B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the rows to FILE, and print all that it has")


def main(given: argparse.Namespace) -> None:
    run(given.model, load_text(given.text), given.windows, given.rows, given.only.split("|"), given.json)


def run(model: str, text: Text, count: int, which: str, only: list[str], path: Path | None) -> None:
    """Converts if a package is among the rows, measures, and prints both tables."""
    checkpoint, tokenizer = open_model(model)
    ids = windows_of(text, checkpoint, tokenizer, count)
    measured = load_measured(path, measurement_key(model, checkpoint.source.origin, text.sha256, ids))
    notes = [*NOTES, *_source_notes(checkpoint)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = make_bench(checkpoint, tokenizer, ids)
        rows: list[Row] = []
        headline: list[Row] = []
        if which in ("all", "edgesw"):
            settings, refused = default_settings(checkpoint.spec)
            notes += refused
            package = Package(bench, settings, folder / "package")
            rows += [*package_rows(bench, package, settings), *own_rows(bench)]
        if which in ("all", "one-palette"):
            headline += headline_rows(bench) if bench.super_weights.values else []
        if which in ("all", "peers"):
            rows += peer_rows(bench, PEERS, folder)
            notes += _peer_notes()
        picked = [row for row in rows if any(words in row.title for words in only)]
        if not picked and not headline:
            sys.exit(f"Error: no row's title has '{'|'.join(only)}'.")
        for start in range(0, len(picked), AT_ONCE):
            measured = measured.with_rows(_measure(bench, picked[start : start + AT_ONCE]))
            if path:
                measured.save(path)
        results = list(measured.rows.values())
        second = _measure(bench, headline) if only == [""] else []
    if which == "one-palette":
        _print_headline(bench, second)
        return
    print(described(model, checkpoint, f"{text.name} (SHA-256 {text.sha256[:12]})", ids))
    print(f"{versions('coremltools', 'onnxruntime', 'gguf', *_llama_cpp(), 'numpy', 'torch')}.\n")
    float_row = ("float", "float decoder", "32", f"{results[0].float_perplexity:,.2f}", "", "0", "100%")
    print(table(COLUMNS, [float_row, *(result.cells() for result in results)], left=2), end="\n\n")
    print("\n".join(f"- {note}" for note in notes))
    if second or (which == "all" and not bench.super_weights.values):
        _print_headline(bench, second)


def _measure(bench: Bench, rows: list[Row]) -> list[Result]:
    """All rows, compared with one pass of the float model."""
    if not rows:
        return []
    made = make_all(rows)
    reference = FloatLogits(bench.checkpoint.spec, bench.checkpoint, bench.ids)
    so_far = []
    for results in measure(bench.ids, reference, [each.decoder for each in made]):
        so_far.append(results)
        say(f"measured {len(rows)} rows on window {len(so_far)} of {len(bench.ids)}")
    return [Result.of(row, each, agreement) for row, each, agreement in zip(rows, made, so_far[-1], strict=True)]


def _peer_notes() -> list[str]:
    missing = sorted({package for peer in PEERS if (package := peer.missing())})
    return [*([JOINED] if _llama_cpp() else []), *(f"Not installed, so its rows are left out: {p}." for p in missing)]


def _llama_cpp() -> list[str]:
    """The package that quantizes to k-quants, where it is installed."""
    return sorted({peer.needs[1] for peer in llama_cpp_quantizers.PEERS if peer.needs and not peer.missing()})


def _source_notes(checkpoint: Checkpoint) -> list[str]:
    """What must be known about a source that was quantized already."""
    if checkpoint.source.kind != "gguf":
        return []
    from gguf import GGUFReader

    types = Counter(tensor.tensor_type.name for tensor in GGUFReader(checkpoint.source.path).tensors)
    stored = ", ".join(f"{count} {name}" for name, count in types.most_common())
    if "Q4_1" not in types:
        return [f"The float model is a dequantized GGUF file ({stored} tensors)."]
    return [
        f"The float model is a dequantized Q4_1 file ({stored} tensors): grids of 4 bits with zero points over "
        "blocks of 32, as edgesw and peers use, may fit it better than other models; Q4_1 would reproduce it exactly."
    ]


def _print_headline(bench: Bench, results: list[Result]) -> None:
    layers = headline_layers(bench)
    if not bench.super_weights.values:
        print("\nNo super weights were found in this model, so there is nothing to hold out.")
        return
    held = ", ".join(f"layer {layer} [{row}, {column}]" for layer, row, column in bench.super_weights.values)
    print(
        f"\nOnly down_proj of layers {' and '.join(map(str, layers))} in one 4-bit palette per tensor, fitted to ",
        end="",
    )
    print(f"plain squared error; everything else float. Super weights: {held}.\n")
    print(table(COLUMNS, [result.cells() for result in results], left=2))
