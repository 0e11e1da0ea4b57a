"""Peephole passes over the nodes of a finished ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import helper

from edgesw.emit.onnx_graph import MICROSOFT

# A node that adds to the residual stream is named for what it adds, with this at the end.
RESIDUAL = ".residual"

Node = Any


def fuse_skip_norm(nodes: Sequence[Node]) -> list[Node]:
    """Makes one SkipSimplifiedLayerNormalization of each sum of the residual stream and the norm that reads it first.

    Requires: each value is made before it is read; a sum of the residual stream is an Add whose name ends with
    RESIDUAL, and every sum is read.
    Ensures: the same values by the same names, each still made before it is read. A sum that another node reads first
    stays an Add, right before that node.
    """
    pending: dict[str, Node] = {}
    fused: list[Node] = []
    for node in nodes:
        if node.op_type == "Add" and node.name.endswith(RESIDUAL):
            pending[node.output[0]] = node
            continue
        if node.op_type == "SimplifiedLayerNormalization" and node.input[0] in pending:
            fused.append(_skip_norm(pending.pop(node.input[0]), node))
            continue
        fused += [pending.pop(value) for value in node.input if value in pending]
        fused.append(node)
    assert not pending, f"sums that no node reads: {', '.join(pending)}"
    return fused


def _skip_norm(total: Node, norm: Node) -> Node:
    (epsilon,) = (attribute.f for attribute in norm.attribute if attribute.name == "epsilon")
    return helper.make_node(
        "SkipSimplifiedLayerNormalization", [*total.input, norm.input[1]], [norm.output[0], "", "", total.output[0]],
        name=norm.name, domain=MICROSOFT, epsilon=epsilon,
    )  # fmt: skip
