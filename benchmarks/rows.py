"""The rows of the quality table: each a decoder to measure beside the float model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numerics import Matrices, Mixed, NumericsDecoder, bits_per_weight
from peers import PEERS, PeerMatrices
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
class Row:
    """`bits`: stored per weight of the matrices that the row compresses; None where that is nothing."""

    title: str
    bits: float | None
    decoder: PackagedDecoder


@dataclass(frozen=True)
class Bench:
    """What all rows share."""

    checkpoint: Checkpoint
    ids: np.ndarray  # (windows, tokens)
    importance: dict[str, np.ndarray]  # the calibration that `edgesw convert` does
    held_out: tuple[Coordinates, ...]  # the super weights that it found, ...
    columns: dict[str, list[int]]  # ... and what it holds out whole, by matrix name
    ends: dict[str, np.ndarray]  # embedding and head, in 8 bits and dequantised

    def numerics(self, title: str, matrices: Matrices, names: frozenset[str], ends: bool = True) -> NumericsDecoder:
        """The float decoder with `names` taken from `matrices`, and embedding and head in 8 bits if `ends`."""
        say(f"{title}: numerics")
        spec = self.checkpoint.spec
        mixed = Mixed(self.checkpoint, names, matrices, self.ends if ends else {})
        return NumericsDecoder(spec, mixed, self.ids)


def eight_bit_ends(checkpoint: Checkpoint, plan: CompressionPlan) -> dict[str, np.ndarray]:
    """Embedding and head as every package of ours has them."""
    names = [matrix.name for matrix in plan.matrices if matrix.name not in set(checkpoint.spec.matrices())]
    ends = {name: CompressedDecoder(checkpoint, plan).tensor(name) for name in names}
    return {"lm_head": ends["embed_tokens"], **ends} if checkpoint.spec.tied_head else ends


def package_rows(bench: Bench, package: Path, manifest: Manifest, settings: Settings) -> Iterator[Row]:
    """The packages of one conversion, each in its runtime."""
    plans = make_plans(bench.checkpoint.spec, settings)
    for name, plan in plans.by_target.items():
        target = TARGETS[name]
        title = f"edgesw {target.title} package, defaults: {plan.matrices[0].scheme}"
        say(f"{title}: loading")
        bits = bits_per_weight(bench.checkpoint.spec, plan, bench.columns)
        yield Row(title, bits, target.run(package / manifest.models[name], manifest.context, "float16"))


def own_rows(bench: Bench) -> Iterator[Row]:
    """What embedding and head cost alone, our other settings with and without hold-out, and the grid of the peers."""
    spec = bench.checkpoint.spec
    yield Row(ENDS_ONLY, None, bench.numerics(ENDS_ONLY, _nothing, frozenset()))
    by_bits = [make_plans(spec, Settings((CORE_ML.name,), bits, "palette", group)) for bits, group in PALETTES]
    plans = [plans.by_target[CORE_ML.name] for plans in by_bits]
    hold_outs = [{}, bench.columns] if bench.columns else [{}]
    symmetric = _with_scheme(plans[0], SYMMETRIC)
    for plan, columns in [*((plan, columns) for plan in plans for columns in hold_outs), (symmetric, {})]:
        title = f"edgesw {plan.matrices[0].scheme}"
        title += ", held out" if columns else ", symmetric (not a setting)" if plan is symmetric else ""
        held_out = bench.held_out if columns else ()
        compressed = CompressedDecoder(bench.checkpoint, plan, bench.importance, held_out, columns=columns)
        bits = bits_per_weight(spec, plan, columns)
        yield Row(title, bits, bench.numerics(title, compressed.tensor, frozenset(spec.matrices())))


def peer_rows(bench: Bench) -> Iterator[Row]:
    """The peers' numerics; embedding and head are ours, so that only the layers differ."""
    layers = frozenset(bench.checkpoint.spec.matrices())
    for peer in PEERS:
        matrices = PeerMatrices(bench.checkpoint, peer)
        decoder = bench.numerics(peer.title, matrices.tensor, layers)
        left = f" ({matrices.left_float} matrices left float16)" if matrices.left_float else ""
        yield Row(peer.title + left, matrices.bits_per_weight, decoder)


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
    for held_out in dict.fromkeys(((), bench.held_out)):
        title = "super weights held out" if held_out else "plain"
        matrices = partial(_per_tensor, bench.checkpoint, held_out)
        columns = {(layer, column) for layer, _, column in held_out}
        bits = (8 * stored + len(columns) * (shape[0] + 2) * 16) / (len(names) * shape[0] * shape[1])
        yield Row(title, bits, bench.numerics(f"headline, {title}", matrices, names, ends=False))


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
