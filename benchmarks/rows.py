"""The rows of the quality table: each a decoder to measure beside the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from bench import Bench
from numerics import bits_per_weight
from peers import Peer, Source
from printing import say

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.compress.decoder import CompressedDecoder, compress_matrix
from edgesw.compress.matrix import Scheme
from edgesw.compress.plan import CompressionPlan
from edgesw.package import Manifest
from edgesw.plans import Settings, make_plans
from edgesw.recipes import Coordinates
from edgesw.runtime.package import PackagedDecoder
from edgesw.targets import TARGETS

# Core ML's format has every setting measured as numerics, so its plans are the ones made.
CORE_ML = TARGETS["coreml"]
PALETTES = ((4, 16), (4, 0), (3, 16))  # bits, rows that share a palette (0: all)
PER_TENSOR = Scheme("palette", 4, 0)
# No setting of ours has it at 4 bits: it is here to be compared with peers that have no zero points.
SYMMETRIC = Scheme("block", 4, 32)
ENDS_ONLY = "only embedding and head in 8 bits"


@dataclass(frozen=True)
class Made:
    """A decoder to measure. `bits`: stored per weight of the matrices that it compresses; None where that is nothing.
    `note`: what only the making has shown, to be printed after the title."""

    bits: float | None
    decoder: PackagedDecoder
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A line of the table, made only if it is to be measured."""

    title: str
    make: Callable[[], Made]


def package_rows(bench: Bench, package: Path, manifest: Manifest, settings: Settings) -> Iterator[Row]:
    """The packages of one conversion, each in its runtime."""

    def make(name: str, plan: CompressionPlan) -> Made:
        target = TARGETS[name]
        bits = bits_per_weight(bench.checkpoint.spec, plan, bench.columns)
        return Made(bits, target.run(package / manifest.models[name], manifest.context, "float16"))

    for name, plan in make_plans(bench.checkpoint.spec, settings).by_target.items():
        title = f"edgesw {TARGETS[name].title} package, defaults: {plan.matrices[0].scheme}"
        yield Row(title, partial(make, name, plan))


def own_rows(bench: Bench) -> Iterator[Row]:
    """What embedding and head cost alone, our other settings with and without hold-out, and the grid of the peers."""
    spec = bench.checkpoint.spec

    def make(plan: CompressionPlan, columns: dict[str, list[int]]) -> Made:
        held_out = bench.held_out if columns else ()
        compressed = CompressedDecoder(bench.checkpoint, plan, bench.importance, held_out, columns=columns)
        return Made(bits_per_weight(spec, plan, columns), bench.numerics(compressed.tensor, bench.layers))

    yield Row(ENDS_ONLY, lambda: Made(None, bench.numerics(_nothing, frozenset())))
    by_bits = [make_plans(spec, Settings((CORE_ML.name,), bits, "palette", group)) for bits, group in PALETTES]
    plans = [plans.by_target[CORE_ML.name] for plans in by_bits]
    hold_outs = [{}, bench.columns] if bench.columns else [{}]
    symmetric = _with_scheme(plans[0], SYMMETRIC)
    for plan, columns in [*((plan, columns) for plan in plans for columns in hold_outs), (symmetric, {})]:
        title = f"edgesw {plan.matrices[0].scheme}"
        title += ", held out" if columns else ", symmetric (not a setting)" if plan is symmetric else ""
        yield Row(title, partial(make, plan, columns))


def peer_rows(bench: Bench, peers: tuple[Peer, ...], folder: Path) -> Iterator[Row]:
    """The peers' numerics; embedding and head are ours, so that only the layers differ."""
    checkpoint = bench.checkpoint
    source = Source(checkpoint.spec, checkpoint, bench.importance, folder)

    def make(peer: Peer) -> Made:
        stored = peer.store(source)
        decoder = bench.numerics(stored.tensor, bench.layers)
        return Made(stored.bits_per_weight, decoder, stored.note)

    for peer in peers:
        if peer.fits(checkpoint.spec) and not peer.missing():
            yield Row(peer.title, partial(make, peer))


def headline_layers(bench: Bench) -> list[int]:
    """Layers whose down_proj holds a super weight, or by the recipe a scalar that takes its effect out again."""
    recipe = bench.checkpoint.source.recipe
    known = [*(w.coordinates for w in recipe.super_weights), *recipe.cancels_at] if recipe else []
    return sorted({layer for layer, _, _ in (*bench.held_out, *known)})


def headline_rows(bench: Bench) -> Iterator[Row]:
    """One palette per tensor for `headline_layers` alone, all else float: what squared error does to a super weight."""
    names = frozenset(f"layers.{layer}.down_proj" for layer in headline_layers(bench))
    shape = bench.checkpoint.spec.matrix_shape("down_proj")
    stored = len(names) * PER_TENSOR.stored_bytes(*shape)

    def make(held_out: tuple[Coordinates, ...]) -> Made:
        matrices = partial(_per_tensor, bench.checkpoint, held_out)
        columns = {(layer, column) for layer, _, column in held_out}
        bits = (8 * stored + len(columns) * (shape[0] + 2) * 16) / (len(names) * shape[0] * shape[1])
        return Made(bits, bench.numerics(matrices, names, ends=False))

    for held_out in dict.fromkeys(((), bench.held_out)):
        yield Row("super weights held out" if held_out else "plain", partial(make, held_out))


def make_all(rows: list[Row]) -> list[Made]:
    made = []
    for at, row in enumerate(rows, 1):
        say(f"row {at} of {len(rows)}: {row.title}")
        made.append(row.make())
    return made


def _per_tensor(checkpoint: Checkpoint, held_out: tuple[Coordinates, ...], name: str) -> np.ndarray:
    places = [(row, column) for layer, row, column in held_out if name == f"layers.{layer}.down_proj"]
    return compress_matrix(checkpoint.tensor(name), PER_TENSOR, None, places).dequantize()


def _with_scheme(plan: CompressionPlan, scheme: Scheme) -> CompressionPlan:
    """`plan` with another scheme for the layers' matrices."""
    bits = CORE_ML.capabilities.scale_bits
    return CompressionPlan(
        tuple(
            replace(m, scheme=scheme, stored_bytes=scheme.stored_bytes(m.rows, m.columns, bits))
            if m.name.startswith("layers.")
            else m
            for m in plan.matrices
        )
    )


def _nothing(name: str) -> np.ndarray:
    raise KeyError(name)
