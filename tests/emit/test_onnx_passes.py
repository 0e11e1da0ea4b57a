"""A pass over a finished graph must leave it the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from edgesw.emit.onnx_graph import IR_VERSION, MICROSOFT, OPSET, VERSIONS
from edgesw.emit.onnx_passes import RESIDUAL, fuse_skip_norm

CHANNELS = 16


def norm(x: str, output: str) -> Any:
    return helper.make_node(
        "SimplifiedLayerNormalization", [x, "weight"], [output], name=output, axis=-1, epsilon=1e-5, stash_type=1
    )


def node(op: str, inputs: list[str], output: str) -> Any:
    return helper.make_node(op, inputs, [output], name=output)


def run(nodes: list[Any], outputs: list[str]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(rng.normal(size=CHANNELS).astype(np.float32), "weight")
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, CHANNELS]) for name in names]
        for names in (["a", "b"], outputs)
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "graph", *values, [weight]),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, VERSIONS[MICROSOFT])],
        ir_version=IR_VERSION,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {name: rng.normal(size=(1, 3, CHANNELS)).astype(np.float32) for name in ("a", "b")}
    return list(session.run(outputs, feeds))


def test_a_sum_and_its_norm_become_one_node_that_gives_both() -> None:
    """Two nodes would read the residual stream twice; a stream that is lost would end the model."""
    first, second = f"b{RESIDUAL}", f"h{RESIDUAL}"
    nodes = [
        node("Add", ["a", "b"], first), norm(first, "h"), node("Add", [first, "h"], second), norm(second, "y"),
    ]  # fmt: skip
    fused = fuse_skip_norm(nodes)
    assert [each.op_type for each in fused] == ["SkipSimplifiedLayerNormalization"] * 2
    for before, after in zip(run(nodes, ["y", first, second]), run(fused, ["y", first, second]), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_a_sum_that_something_else_reads_first_stays_a_sum() -> None:
    """A product that reads it would come before the node that makes it, and the model would not load."""
    total = f"b{RESIDUAL}"
    nodes = [
        node("Add", ["a", "b"], total), node("Abs", ["a"], "other"), node("Neg", [total], "product"),
        norm(total, "y"), node("Add", ["other", "product"], "z"),
    ]  # fmt: skip
    fused = fuse_skip_norm(nodes)
    assert [each.name for each in fused] == ["other", total, "product", "y", "z"]
    for before, after in zip(run(nodes, ["y", "z"]), run(fused, ["y", "z"]), strict=True):
        np.testing.assert_array_equal(after, before)


def test_other_sums_are_left_alone() -> None:
    """A bias or a correction that is moved would change the bytes of every package."""
    nodes = [node("Add", ["a", "b"], "biased"), node("Abs", ["a"], "other"), norm("biased", "y")]
    assert fuse_skip_norm(nodes) == nodes
