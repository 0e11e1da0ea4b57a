"""OnnxGraph: nodes and initializers as they come, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, save_model

from edgesw.emit.external_data import ExternalData

OPSET, IR_VERSION = 21, 10
MICROSOFT = "com.microsoft"
# The version of how graphs are built, not of edgesw: equal conversions by different versions give equal bytes.
GRAPH_VERSION = "0.1.0"
VERSIONS = {"": OPSET, MICROSOFT: 1}


class OnnxGraph:
    """Nodes in order of appearance; their constants go to `data`. Values are known by their names."""

    def __init__(self, data: ExternalData) -> None:
        self.data = data
        self.nodes: list[Any] = []
        self._made: set[str] = set()

    def __contains__(self, name: str) -> bool:
        """Whether a node makes the value."""
        return name in self._made

    def node(
        self, op: str, inputs: list[str], output: str | list[str], domain: str | None = "", **attributes: Any
    ) -> str:
        """Append a node and return its first output. Nodes are named for what they make. A `domain` of None is the
        standard's too, and is left out of the file."""
        outputs = [output] if isinstance(output, str) else output
        self._made.update(outputs)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def widened(self, name: str, values: np.ndarray) -> str:
        """Float16 `values` as float32. Stored as they are; what runs the graph widens them once, as it opens the
        model."""
        if name not in self:
            self.node("Cast", [self.data.write(f"{name}_stored", values)], name, to=TensorProto.FLOAT)
        return name

    def save(self, path: Path, name: str, inputs: list[Any], outputs: list[Any]) -> None:
        """Write the model, which asks for no more operators than it has."""
        domains = {node.domain for node in self.nodes}
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.data.initializers),
            opset_imports=[helper.make_opsetid(domain, of) for domain, of in VERSIONS.items() if domain in domains],
            producer_name="edgesw",
            producer_version=GRAPH_VERSION,
            ir_version=IR_VERSION,
        )
        save_model(model, str(path))
