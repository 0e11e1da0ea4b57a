"""Sound, coarse and damaged decoders of several models, with the figures by which `edgesw validate` judges them.

Each is the float decoder with matrices that were compressed and dequantized, and with what damage a row names; none is
written as a package. "Sound" rows are what people would ship, "coarse" ones what they would not, and damage is what a
wrong converter has done before: another base of the rotary embedding, BOS where the model was trained without it or
none where it was trained with it, one layer's scales doubled, what is held out left out. The verdict is by the limits
that `edgesw validate` has by default, on the shipped text, of which the worst kind counts, and by its examination.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from benchmarks.lib.arguments import at_least
from benchmarks.lib.bench import eight_bit_ends
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.model import open_model
from benchmarks.lib.numerics import Matrices, Mixed, SimulatedDecoder
from benchmarks.lib.printing import Stages, say, table, versions
from benchmarks.lib.rows import core_ml_plan, with_scheme
from edgesw.calibration.calibrate import calibrate
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme
from edgesw.conversion.hold_out import find_super_weights
from edgesw.conversion.settings import Settings
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec, Rotary
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_texts, shipped_text, windows_by_kind
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.examine import TOKENS as EXAMINED
from edgesw.validation.examine import examine
from edgesw.validation.measure import measure
from edgesw.validation.verdict import Limits, judge

BENCHMARK = Benchmark(
    "The figures and verdicts of sound, coarse and damaged decoders of several models.",
    minutes=15,
    docs=(Section("docs/validation.md", "How the limits were set"),),
)
SOUND = (BlockScheme(8, 32, True), BlockScheme(4, 32, True), BlockScheme(4, 64, True), PaletteScheme(4, 16))
COARSE = (PaletteScheme(3, 16), BlockScheme(2, 16, True), PaletteScheme(2, 16))
DAMAGED = BlockScheme(4, 32, True)
COLUMNS = (
    *("model", "decoder", "worst KL", "on", "least top-1", "most increase"),
    *("KL over that of its matrices", "worst matrix", "verdict"),
)
TOKENS = 512


@dataclass(frozen=True)
class Model:
    """A model with what its rows share."""

    name: str
    checkpoint: Checkpoint
    tokenizer: Tokenizer
    hold_out: HoldOut
    mean_squares: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    ids: np.ndarray
    kinds: tuple[str, ...]

    @property
    def spec(self) -> DecoderSpec:
        return self.checkpoint.spec

    def compressed(self, scheme: Scheme, hold_out: HoldOut | None = None) -> Matrices:
        """The layers' matrices, held out and weighted by activations as a conversion without compensation has them."""
        plan = with_scheme(core_ml_plan(self.spec, Settings(("coreml",))), scheme)
        held = self.hold_out if hold_out is None else hold_out
        return CompressedDecoder(self.checkpoint, plan, self.mean_squares, held).tensor

    def logits(self, matrices: Matrices, spec: DecoderSpec | None = None, ids: np.ndarray | None = None) -> FloatLogits:
        mixed = Mixed(self.checkpoint, frozenset(self.spec.matrices()), matrices, self.ends)
        return FloatLogits(spec or self.spec, mixed, self.ids if ids is None else ids)

    def without_correction(self) -> Matrices:
        """The matrices with what is held out at zero, as a graph has them that lacks its corrections."""
        sound = self.compressed(DAMAGED)

        def tensor(name: str) -> np.ndarray:
            values = sound(name).copy()
            values[:, list(self.hold_out.columns.get(name, ()))] = 0
            return values

        return tensor


@dataclass(frozen=True)
class Row:
    """A decoder: the matrices that its package would hold, and what it computes over windows of ids."""

    title: str
    matrices: Callable[[], Matrices]
    logits: Callable[[Matrices, np.ndarray], Iterable[np.ndarray]]


def rows(model: Model) -> Iterator[Row]:
    columns = model.spec.hidden_size

    def right(matrices: Matrices, ids: np.ndarray) -> Iterable[np.ndarray]:
        return model.logits(matrices, ids=ids)

    for kind, schemes in (("sound", SOUND), ("coarse", COARSE)):
        for scheme in schemes:
            yield Row(f"{kind}: {scheme.text(columns)}", partial(model.compressed, scheme), right)
    bare = PaletteScheme(3, 16)
    title = f"coarse: {bare.text(columns)}, nothing held out"
    yield Row(title, partial(model.compressed, bare, HoldOut()), right)
    sound, middle = partial(model.compressed, DAMAGED), model.spec.layers // 2
    base = other_base(model.spec, 4.0)
    yield Row("damaged: rotary base four times too large", sound, lambda m, ids: model.logits(m, base, ids))
    yield Row("damaged: one layer's scales doubled", lambda: doubled(sound(), middle), right)
    if any(model.hold_out.columns.values()):
        without = model.without_correction()
        yield Row("damaged: correction left out", sound, lambda _, ids: model.logits(without, ids=ids))
    start = len(model.tokenizer.prefix_ids)
    if start:
        yield Row("damaged: BOS left out", sound, lambda m, ids: shifted(model.logits(m, ids=ids[:, start:]), start))
    elif model.tokenizer.bos_id is not None:
        yield Row("damaged: BOS put before it", sound, lambda m, ids: with_bos(model, m, ids))


def shifted(windows: Iterable[np.ndarray], start: int) -> Iterator[np.ndarray]:
    """Logits of windows that lacked their first `start` tokens; for what followed those, the next position's."""
    for window in windows:
        yield np.concatenate([window[:1]] * start + [window])


def with_bos(model: Model, matrices: Matrices, ids: np.ndarray) -> Iterator[np.ndarray]:
    """Logits of windows that have a BOS before them."""
    first = np.full((len(ids), 1), model.tokenizer.bos_id)
    for window in model.logits(matrices, ids=np.concatenate([first, ids], 1)):
        yield window[1:]


@dataclass(frozen=True)
class Stored:
    """The `PackageMatrices` of a row."""

    tensor: Matrices

    def matrix(self, name: str) -> np.ndarray:
        return self.tensor(name)


def other_base(spec: DecoderSpec, times: float) -> DecoderSpec:
    """The spec with rotary embeddings of a base that is `times` as large: frequency i of n is divided by
    times^(i / n)."""

    def turned(rotary: Rotary) -> Rotary:
        count = len(rotary.frequencies)
        return replace(rotary, frequencies=tuple(f * times ** (-at / count) for at, f in enumerate(rotary.frequencies)))

    return replace(spec, rotaries=tuple(map(turned, spec.rotaries)))


def doubled(matrices: Matrices, layer: int) -> Matrices:
    """These matrices, with those of one layer twice as large."""
    return lambda name: matrices(name) * (2 if TensorName.parse(name).layer == layer else 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", nargs="+", default=["smollm2-135m"], help="models as `edgesw convert` takes them")
    parser.add_argument("--windows", type=at_least(1), default=1, help=f"windows of {TOKENS} tokens of each kind (1)")


def main(given: argparse.Namespace) -> None:
    found: list[tuple[str, ...]] = []
    for name in given.models:
        found += model_rows(prepared(name, given.windows))
    print(f"Shipped text, {given.windows} windows of {TOKENS} tokens of each kind; limits {Limits()}.")
    print(f"Matrices are simulated, weighted and not compensated; embedding and head 8 bits. {versions('torch')}.\n")
    print(table(COLUMNS, found, left=2))


def prepared(name: str, count: int) -> Model:
    checkpoint, tokenizer = open_model(name)
    tokens = min(TOKENS, checkpoint.spec.max_positions)
    ids, kinds = windows_by_kind(load_texts(None), tokenizer, count, tokens)
    squares = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages()).mean_squares
    hold_out = find_super_weights(checkpoint, tokenizer, Stages()).hold_out(squares)
    ends = eight_bit_ends(checkpoint, core_ml_plan(checkpoint.spec, Settings(("coreml",))))
    return Model(name, checkpoint, tokenizer, hold_out, dict(squares), ends, ids, kinds)


def model_rows(model: Model) -> Iterator[tuple[str, ...]]:
    reference = list(FloatLogits(model.spec, model.checkpoint, model.ids))
    for row in rows(model):
        say(f"{model.name}, {row.title}")
        matrices = row.matrices()
        decoder = SimulatedDecoder(row.logits(matrices, model.ids))
        *_, (agreement,) = measure(model.ids, reference, [decoder], model.kinds)
        kinds = agreement.kinds
        where = max(kinds, key=lambda kind: kinds[kind].kl_divergence)
        window = model.ids[model.kinds.index(where)]
        again = SimulatedDecoder(row.logits(matrices, window[None, :EXAMINED]))
        found = examine("", Stored(matrices), model.checkpoint, window, again, False, lambda layer: None)
        failed = judge(agreement, Limits()).failures
        verdict = "pass" if not failed + found.failures else "FAIL" if failed else "FAIL, examined"
        yield (
            *(model.name.rpartition("/")[2], row.title, f"{kinds[where].kl_divergence:.3f}", where),
            f"{min(one.top1_agreement for one in kinds.values()):.1%}",
            f"{max(one.increase for one in kinds.values()):+,.1%}",
            f"{found.divergence / found.of_matrices:,.1f}",
            f"{found.worst[0].error:.0%}",
            verdict,
        )
