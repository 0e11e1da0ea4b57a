"""The rows of the quality table: each is a decoder to compare with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.lib.bench import Bench, Package
from benchmarks.lib.numerics import bits_per_weight
from benchmarks.lib.printing import Stages, say
from benchmarks.peers.peer import Peer, Source
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.capabilities import nearest_divisor
from edgesw.compress.compression import compress_matrix
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.plan import CompressionPlan
from edgesw.compress.scheme import Scheme
from edgesw.conversion.convert import compressed_decoder
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings
from edgesw.decoder.names import TensorName, down_proj
from edgesw.decoder.spec import DecoderSpec
from edgesw.recipes.coordinates import Coordinates
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.registry import TARGETS

# Core ML's format has every setting that is simulated, so the plans are made for it.
CORE_ML = TARGETS["coreml"]
PER_TENSOR = PaletteScheme(4, 0)
WHOLE_ROW = 1 << 30  # columns: more than any matrix has
SCHEMES = (
    *(PaletteScheme(bits, group) for bits in (4, 3, 2) for group in (0, 32, 16, 8)),
    *(BlockScheme(bits, group, True) for bits in (4, 3, 2) for group in (16, 32, 64, 128, WHOLE_ROW)),
    # Not a setting of edgesw: for comparison with peers that have no zero points.
    BlockScheme(4, 32),
)
# Code bits that with palettes and corrections total a little less than 4.6, 3.6 and 2.5 stored bits.
BUDGETS = (4.4, 3.4, 2.35)
# The same for palettes of vectors, which are larger.
CLUSTER_DIM = 4
VECTOR_BUDGETS = (4.4, 3.4, 2.3)
FRACTION = 5e-4
ENDS_ONLY = "only embedding and head in 8 bits"


@dataclass(frozen=True)
class Made:
    """A decoder to measure."""

    bits: float | None
    """Stored bits per weight of the matrices that are compressed; None where none is."""
    decoder: PackagedDecoder
    note: str = ""
    """What is only known once it is made, to be printed after the title."""


@dataclass(frozen=True)
class Row:
    """A row of the table. `make` is called only if the row is measured."""

    title: str
    make: Callable[[], Made]


def package_rows(bench: Bench, package: Package, settings: Settings) -> Iterator[Row]:
    """The packages of one conversion, each in its runtime."""

    def make(name: str, plan: CompressionPlan) -> Made:
        manifest = package.made()
        bits = bits_per_weight(bench.checkpoint.spec, plan, bench.hold_out)
        path = package.path / manifest.models[name].path
        return Made(bits, TARGETS[name].open(path, manifest.context))

    for name, plan in make_plans(bench.checkpoint.spec, settings).compressions.items():
        title = f"edgesw {TARGETS[name].title} package, defaults: {plan.matrices[0].scheme}"
        yield Row(title, partial(make, name, plan))


def own_rows(bench: Bench) -> Iterator[Row]:
    """Embedding and head compressed alone; every scheme at every level of care; mixed precision at each budget."""
    yield Row(ENDS_ONLY, lambda: Made(None, bench.simulated(bench.checkpoint.tensor, frozenset())))
    spec = bench.checkpoint.spec
    base = core_ml_plan(spec, Settings((CORE_ML.name,)))
    plans = [(scheme.text(base.layers[0].columns), with_scheme(base, scheme)) for scheme in SCHEMES]
    for bits in (4, 3, 2):
        plan = core_ml_plan(spec, Settings((CORE_ML.name,), bits, scheme="palette", cluster_dim=CLUSTER_DIM))
        scheme = plan.layers[0].scheme
        assert isinstance(scheme, PaletteScheme)
        plans.append((f"palettes of vectors of {scheme.vector}, {bits} bits", plan))
    for name, plan in plans:
        for level, decoder in LEVELS.items():
            if level != "held out" or bench.hold_out.columns:
                yield Row(f"edgesw {name}: {level}", partial(_own, bench, plan, decoder))
    for what, dim, budgets in (("16 rows", 1, BUDGETS), ("vectors", CLUSTER_DIM, VECTOR_BUDGETS)):
        for budget in budgets:
            mixed = f"edgesw palettes of {what} mixed to {budget:g} code bits"
            yield Row(f"{mixed}, {FRACTION:g} of scalars held out: compensated", partial(_mixed, bench, budget, dim))


def core_ml_plan(spec: DecoderSpec, settings: Settings) -> CompressionPlan:
    """The plan of a conversion to Core ML."""
    return make_plans(spec, settings).compressions[CORE_ML.name]


def _own(bench: Bench, plan: CompressionPlan, make: Callable[[Bench, CompressionPlan], CompressedDecoder]) -> Made:
    decoder = make(bench, plan)
    bits = bits_per_weight(bench.checkpoint.spec, plan, decoder.hold_out)
    return Made(bits, bench.simulated(decoder.tensor, bench.layers))


def _mixed(bench: Bench, bits: float, cluster_dim: int) -> Made:
    bench = replace(bench, hold_out=replace(bench.hold_out, fraction=FRACTION))
    settings = Settings((CORE_ML.name,), bits, scheme="palette", hold_out_fraction=FRACTION, cluster_dim=cluster_dim)
    plans = make_plans(bench.checkpoint.spec, settings)
    plans = plans.measured(bench.checkpoint, bench.calibration, bench.hold_out, Stages())
    return _own(bench, plans.compressions[CORE_ML.name], _compensated)


def _plain(bench: Bench, plan: CompressionPlan) -> CompressedDecoder:
    return CompressedDecoder(bench.checkpoint, plan)


def _held_out(bench: Bench, plan: CompressionPlan) -> CompressedDecoder:
    return CompressedDecoder(bench.checkpoint, plan, None, bench.hold_out)


def _weighted(bench: Bench, plan: CompressionPlan) -> CompressedDecoder:
    weights = bench.calibration.mean_squares
    return CompressedDecoder(bench.checkpoint, plan, weights, bench.hold_out)


def _compensated(bench: Bench, plan: CompressionPlan) -> CompressedDecoder:
    return compressed_decoder(bench.checkpoint, plan, bench.calibration, bench.hold_out)


LEVELS = {
    "plain": _plain,
    "held out": _held_out,
    "held out, weighted": _weighted,
    "held out, compensated": _compensated,
}


def peer_rows(bench: Bench, peers: tuple[Peer, ...], folder: Path) -> Iterator[Row]:
    """The peers, simulated. Embedding and head are compressed by edgesw, so that only the layers differ."""
    checkpoint = bench.checkpoint
    source = Source(checkpoint.spec, checkpoint, bench.calibration.mean_squares, folder)

    def make(peer: Peer) -> Made:
        stored = peer.store(source)
        decoder = bench.simulated(stored.tensor, bench.layers)
        return Made(stored.bits_per_weight, decoder, stored.note)

    for peer in peers:
        if peer.fits(checkpoint.spec) and not peer.missing():
            yield Row(peer.title, partial(make, peer))


def headline_layers(bench: Bench) -> list[int]:
    """Layers whose down_proj has a super weight or, according to the recipe, a scalar that cancels one."""
    recipe = bench.checkpoint.source.recipe
    known = [*(w.coordinates for w in recipe.super_weights), *recipe.cancels_at] if recipe else []
    return sorted({layer for layer, _, _ in (*bench.super_weights.values, *known)})


def headline_rows(bench: Bench) -> Iterator[Row]:
    """One palette per tensor for `headline_layers` alone, the rest float: squared error against super weights."""
    names = frozenset(down_proj(layer) for layer in headline_layers(bench))
    shape = bench.checkpoint.spec.matrix_shape("down_proj")
    stored = len(names) * PER_TENSOR.stored_bytes(*shape)

    def make(held_out: tuple[Coordinates, ...]) -> Made:
        matrices = partial(_per_tensor, bench.checkpoint, held_out)
        columns = {(layer, column) for layer, _, column in held_out}
        bits = (8 * stored + len(columns) * (shape[0] + 2) * 16) / (len(names) * shape[0] * shape[1])
        return Made(bits, bench.simulated(matrices, names, ends=False))

    for held_out in dict.fromkeys(((), tuple(bench.super_weights.values))):
        yield Row("super weights held out" if held_out else "plain", partial(make, held_out))


def make_all(rows: list[Row]) -> list[Made]:
    """The decoders of these rows."""
    made = []
    for at, row in enumerate(rows, 1):
        say(f"row {at} of {len(rows)}: {row.title}")
        made.append(row.make())
    return made


def _per_tensor(checkpoint: Checkpoint, held_out: tuple[Coordinates, ...], name: str) -> np.ndarray:
    hold_out = HoldOut(scalars=held_out).of(name)
    return compress_matrix(checkpoint.tensor(name), PER_TENSOR, None, hold_out).dequantize()


def with_scheme(plan: CompressionPlan, scheme: Scheme) -> CompressionPlan:
    """`plan` with another scheme for the layers' matrices. A group that does not divide an axis is rounded."""
    matrices = []
    for matrix in plan.matrices:
        if TensorName.parse(matrix.name).layer is not None:
            axis = matrix.rows if isinstance(scheme, PaletteScheme) else matrix.columns
            own = replace(scheme, group=nearest_divisor(axis, scheme.group) if scheme.group else 0)
            stored = own.stored_bytes(matrix.rows, matrix.columns)
            matrix = replace(matrix, scheme=own, stored_bytes=stored)
        matrices.append(matrix)
    return CompressionPlan(tuple(matrices))
