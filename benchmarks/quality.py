"""Perplexity, KL divergence and top-1 agreement of our packages, our other settings and our peers, in one run.

python benchmarks/quality.py --text FILE [--windows 8] [--model smollm2-135m] [--rows all|ours|peers] [--only WORDS]
    [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import peers_coremltools
import peers_llama_cpp
import peers_onnxruntime
from bench import TOKENS, Bench, Package, make_bench, takers
from printing import say, table, versions
from results import COLUMNS, Result, load_measured, measurement_key
from rows import Row, headline_layers, headline_rows, make_all, own_rows, package_rows, peer_rows

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.errors import EdgeswError
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import Text, load_text, windows
from edgesw.text.tokenizer import Tokenizer
from edgesw.validate.measure import measure

AT_ONCE = 3  # rows measured side by side, then saved
PEERS = (*peers_onnxruntime.PEERS, *peers_coremltools.PEERS, *peers_llama_cpp.PEERS)
NOTES = (
    "bits per weight: stored for the layers' matrices, counting codes, scales, zero points, palettes and corrections; "
    "the scales are float32 in our ONNX packages and float16 elsewhere.",
    "numerics only: the matrices are dequantised and run in the float decoder; no such package was written or run.",
    "Embedding and head are the same in all rows but the first: 8 bits, blocks of 32. Only the layers differ.",
    "Ours: plain is fitted to squared error; weighted, to the mean squares of inputs; compensated, to their second "
    "moments past the layers before as stored; both on the calibration text that ships. The peers are fitted, by their "
    "defaults, to nothing, but for llama.cpp's with an importance matrix: mean squares of inputs, from the same text.",
    "coremltools gets its exact k-means for all groups; for small ones it would use scikit-learn's, a little worse.",
)
JOINED = (
    "llama.cpp's k-quants store 256 weights of a row together. Where rows do not divide by 256 it takes older types of "
    "more bits, as the types in brackets show; 'rows joined' hands it several rows as one, which no file of its has."
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--text", help="UTF-8 file, or wikitext2 (default: the validation text that ships)")
    parser.add_argument("--windows", type=int, default=8, help=f"windows of {TOKENS} tokens (default: 8)")
    parser.add_argument("--model", default="smollm2-135m", help="what edgesw convert takes (default: smollm2-135m)")
    parser.add_argument("--rows", choices=("all", "ours", "peers"), default="all", help="which to measure (all)")
    parser.add_argument("--only", default="", metavar="WORDS", help="rows whose title has these words, or one of A|B")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the rows to FILE, and print all that it holds")
    given = parser.parse_args()
    if given.windows < 1:
        parser.error("--windows must be at least 1")
    try:
        run(given.model, load_text(given.text), given.windows, given.rows, given.only.split("|"), given.json)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def run(model: str, text: Text, count: int, which: str, only: list[str], path: Path | None) -> None:
    """Convert if need be, measure and print."""
    checkpoint = open_checkpoint(model)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    tokens = min(TOKENS, checkpoint.spec.max_positions)
    ids = windows(text, tokenizer, count, tokens)
    measured = load_measured(path, measurement_key(model, checkpoint.source.origin, text.sha256, ids))
    notes = [*NOTES, *_source_notes(checkpoint)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = make_bench(checkpoint, tokenizer, ids)
        rows: list[Row] = []
        headline: list[Row] = []
        if which != "peers":
            settings, refused = takers(checkpoint.spec)
            notes += refused
            package = Package(bench, settings, folder / "package")
            rows += [*package_rows(bench, package, settings), *own_rows(bench)]
            headline += headline_rows(bench) if bench.held_out.values else []
        if which != "ours":
            rows += peer_rows(bench, PEERS, folder)
            notes += _peer_notes()
        picked = [row for row in rows if any(words in row.title for words in only)]
        if not picked:
            sys.exit(f"Error: no row's title has '{'|'.join(only)}'.")
        for start in range(0, len(picked), AT_ONCE):
            measured = measured.with_rows(_measure(bench, picked[start : start + AT_ONCE]))
            if path:
                measured.save(path)
        results = list(measured.rows.values())
        beside = _measure(bench, headline) if only == [""] else []
    print(f"{model} ({checkpoint.source.origin}) on {text.name} (SHA-256 {text.sha256[:12]}), ", end="")
    print(f"{len(ids)} windows of {ids.shape[1]} tokens, BOS included.")
    print(f"{versions('coremltools', 'onnxruntime', 'gguf', *_llama_cpp(), 'numpy', 'torch')}.\n")
    float_row = ("float", "float decoder", "32", f"{results[0].float_perplexity:,.2f}", "", "0", "100%")
    print(table(COLUMNS, [float_row, *(result.cells() for result in results)], left=2), end="\n\n")
    print("\n".join(f"- {note}" for note in notes))
    if beside or (which != "peers" and not bench.held_out.values):
        _print_headline(bench, beside)


def _measure(bench: Bench, rows: list[Row]) -> list[Result]:
    """All rows beside one pass of the float model."""
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
    """The package that quantises, where it is installed."""
    return sorted({peer.needs[1] for peer in peers_llama_cpp.PEERS if peer.needs and not peer.missing()})


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


def _print_headline(bench: Bench, results: list[Result]) -> None:
    layers = headline_layers(bench)
    if not bench.held_out.values:
        print("\nNo super weights were found in this model, so there is no case for holding them out.")
        return
    held = ", ".join(f"layer {layer} [{row}, {column}]" for layer, row, column in bench.held_out.values)
    print(
        f"\nOnly down_proj of layers {' and '.join(map(str, layers))} in one 4-bit palette per tensor, fitted to ",
        end="",
    )
    print(f"plain squared error; everything else float. Super weights: {held}.\n")
    print(table(COLUMNS, [result.cells() for result in results], left=2))


if __name__ == "__main__":
    main()
