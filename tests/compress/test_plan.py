"""The plan: the scheme of each matrix, and the sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.plan import make_plan
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.targets.registry import TARGETS

SPEC = DecoderSpec(
    family="llama", layers=4, hidden_size=576, intermediate_size=1536, heads=9, kv_heads=3, head_dim=64,
    vocab_size=49152, max_positions=8192, norm_eps=1e-5, tied_head=True, bos_token_id=1, eos_token_ids=(2,),
    rotaries=(), layer_rotary=(None,) * 4, layer_windows=(None,) * 4,
)  # fmt: skip
CAN = {name: target.capabilities(target.options()) for name, target in TARGETS.items()}


@pytest.mark.parametrize("target", ["coreml", "onnx"])
@pytest.mark.parametrize("bits", [*range(2, 9), 2.5, 3.5, 7.25])
def test_every_width_is_met_on_average(target: str, bits: float) -> None:
    """--bits 5 asks for a size: mixed widths must not exceed it, and may fall short by one matrix at most."""
    plan = make_plan(SPEC, CAN[target], bits)
    layers = [m for m in plan.matrices if m.name.startswith("layers.")]
    spent = sum(m.scheme.bits * m.weights for m in layers)
    total, largest = sum(m.weights for m in layers), max(m.weights for m in layers)
    assert bits * total - 4 * largest <= spent <= bits * total
    assert plan.code_bits == spent / total
    assert (plan.mixed_precision is None) == any(bits in widths for widths in CAN[target].widths.values()), (
        "whole widths are as ever"
    )
    assert all(m.scheme.bits in CAN[target].widths[m.scheme.kind] for m in plan.matrices)


def test_tied_head_is_stored_once() -> None:
    """A tied embedding is 30% of a small model: storing it twice would show."""
    tied, own = (make_plan(replace(SPEC, tied_head=tied), CAN["onnx"], 4) for tied in (True, False))
    assert "lm_head" not in tied
    assert own.stored_bytes - tied.stored_bytes == own.matrices[-1].stored_bytes


@pytest.mark.parametrize("columns", [172, 65, 1000])
def test_groups_divide_odd_widths(columns: int) -> None:
    """Core ML takes no short last block: an odd width needs another block size, not a broken package."""
    plan = make_plan(replace(SPEC, intermediate_size=columns), CAN["coreml"], 4)
    for matrix in plan.matrices:
        assert matrix.columns % matrix.scheme.group == 0, matrix


@pytest.mark.parametrize(
    ("target", "options", "says"),
    [
        ("onnx", {"bits": 4, "kind": "palette"}, "no palette scheme"),
        ("onnx", {"bits": 4, "cluster_dim": 2}, "no palette scheme"),
        ("coreml", {"bits": 4, "kind": "block", "cluster_dim": 2}, "for palettes"),
        ("coreml", {"bits": 3, "kind": "block"}, "3-bit block is not possible"),
        ("onnx", {"bits": 4, "group": 48}, "powers of two"),
        ("onnx", {"bits": 4, "group": 8}, "powers of two"),
        ("coreml", {"bits": 4, "kind": "block", "group": 0}, "not a valid size"),
        ("coreml", {"bits": 9}, "2 to 8"),
        ("coreml", {"bits": float("nan")}, "2 to 8"),
        ("coreml", {"bits": 3.5, "kind": "block"}, "3.5-bit block is not possible"),
        ("onnx", {"size": 10**6}, "too small: at 2 bits"),
        ("onnx", {"size": 10**9}, "more than this model can use: at 8 bits"),
    ],
)
def test_what_a_format_cannot_carry_is_refused(target: str, options: dict[str, object], says: str) -> None:
    """A message must name the format's limits before an hour of compression."""
    with pytest.raises(UsageError, match=says):
        make_plan(SPEC, CAN[target], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bits", "cluster_dim", "vectors"), [(2, 4, {4}), (2, 2, {2}), (3, 4, {2}), (4, 4, {2}), (6, 4, {1}), (2, 1, {1})]
)
def test_vectors_are_as_long_as_codes_can_tell_apart(bits: int, cluster_dim: int, vectors: set[int]) -> None:
    """Core ML's codes have 8 bits at most. Their large palettes must not eat up what they gain."""
    plan = make_plan(SPEC, CAN["coreml"], bits, "palette", cluster_dim=cluster_dim)
    schemes = [m.scheme for m in plan.layers if isinstance(m.scheme, PaletteScheme)]
    assert len(schemes) == len(plan.layers) and {scheme.vector for scheme in schemes} == vectors
    assert bits < plan.stored_bits < bits + 0.1
    for matrix, scheme in zip(plan.layers, schemes, strict=True):
        assert matrix.rows % (scheme.group or matrix.rows) == 0
        assert scheme.group % scheme.vector == 0, "a vector across two palettes"


def test_heads_that_onnxruntime_cannot_run_are_refused() -> None:
    """Its attention fails on the first token, when the package has long been written."""
    with pytest.raises(UsageError, match="multiples of 16"):
        make_plan(replace(SPEC, head_dim=24), CAN["onnx"], 4)
    make_plan(replace(SPEC, head_dim=24), CAN["coreml"], 4)


@pytest.mark.parametrize("target", ["coreml", "onnx"])
@pytest.mark.parametrize("embedding_bits", [4, 8])
def test_a_size_counts_all_weights_and_is_met(target: str, embedding_bits: int) -> None:
    """An app has room for a file, not for the layers of one: embedding and head are in it."""
    ends = make_plan(SPEC, CAN[target], 4, embedding_bits=embedding_bits).matrices[-1].stored_bytes
    for size in (ends + 6_000_000, ends + 10_500_000):
        plan = make_plan(SPEC, CAN[target], size=size, embedding_bits=embedding_bits)
        assert 0.99 * size <= plan.stored_bytes <= size
        assert plan.matrices[-1].name == "embed_tokens" and plan.matrices[-1].scheme.bits == embedding_bits


def test_four_bits_halve_the_embedding() -> None:
    eight, four = (make_plan(SPEC, CAN["onnx"], 4, embedding_bits=bits) for bits in (8, 4))
    assert four.layers == eight.layers
    assert 0.5 < four.matrices[-1].stored_bytes / eight.matrices[-1].stored_bytes < 0.6, "its scales stay"


def test_measured_sensitivity_decides_who_gets_the_bits() -> None:
    """The forecast treats all matrices alike; measured sensitivities must move the bits, within the same budget."""
    plan = make_plan(SPEC, CAN["coreml"], 3.5)
    assert plan.mixed_precision is not None
    favourite = "layers.2.up_proj"
    sensitivities = {
        name: [(1000 if name == favourite else 1) * 4.0**-scheme.bits for scheme in schemes]
        for name, schemes in plan.mixed_precision.schemes.items()
    }
    measured = plan.measured(sensitivities)
    assert measured.mixed_precision is None and measured.scheme(favourite).bits == 8
    assert [m.name for m in measured.matrices] == [m.name for m in plan.matrices]
    assert 3.46 < measured.code_bits <= 3.5 < measured.stored_bits
