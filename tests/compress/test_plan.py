"""The plan: what each matrix gets, and what that weighs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.plan import make_plan
from edgesw.errors import UsageError
from edgesw.targets import TARGETS

SPEC = DecoderSpec(
    family="llama", layers=4, hidden_size=576, intermediate_size=1536, heads=9, kv_heads=3, head_dim=64,
    vocab_size=49152, max_positions=8192, norm_eps=1e-5, tied_head=True, bos_token_id=1, eos_token_ids=(2,),
    rotaries=(), layer_rotary=(None,) * 4, layer_windows=(None,) * 4,
)  # fmt: skip
CAN = {name: target.capabilities for name, target in TARGETS.items()}


@pytest.mark.parametrize("target", ["coreml", "onnx"])
@pytest.mark.parametrize("bits", range(2, 9))
def test_every_width_is_met_on_average(target: str, bits: int) -> None:
    """--bits 5 asks for a size: the mix of widths may not exceed it, and may fall short by one matrix at most."""
    plan = make_plan(SPEC, CAN[target], bits)
    layers = [m for m in plan.matrices if m.name.startswith("layers.")]
    spent = sum(m.scheme.bits * m.weights for m in layers)
    total, largest = sum(m.weights for m in layers), max(m.weights for m in layers)
    assert bits * total - 4 * largest <= spent <= bits * total
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
        ("coreml", {"bits": 3, "kind": "block"}, "3-bit block is not possible"),
        ("onnx", {"bits": 4, "group": 48}, "powers of two"),
        ("onnx", {"bits": 4, "group": 8}, "powers of two"),
        ("coreml", {"bits": 4, "kind": "block", "group": 0}, "no size"),
        ("coreml", {"bits": 9}, "2 to 8"),
    ],
)
def test_what_a_format_cannot_carry_is_refused(target: str, options: dict[str, object], says: str) -> None:
    """The format's limits must come up before an hour of compression, in words."""
    with pytest.raises(UsageError, match=says):
        make_plan(SPEC, CAN[target], **options)  # type: ignore[arg-type]


def test_heads_that_onnxruntime_cannot_run_are_refused() -> None:
    """Its attention fails on the first token, when the package has long been written."""
    with pytest.raises(UsageError, match="multiples of 16"):
        make_plan(replace(SPEC, head_dim=24), CAN["onnx"], 4)
    make_plan(replace(SPEC, head_dim=24), CAN["coreml"], 4)
