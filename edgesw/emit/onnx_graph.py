"""OnnxGraph: the nodes and initializers of an ONNX model, in the order in which they are added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, save_model

from edgesw.emit.external_data import ExternalData
from edgesw.formats.correction_names import NARROW

OPSET, IR_VERSION = 21, 10
MICROSOFT = "com.microsoft"
# The version of how graphs are built, not of edgesw: equal conversions by different versions give equal bytes.
GRAPH_VERSION = "0.1.0"
VERSIONS = {"": OPSET, MICROSOFT: 1}


class OnnxGraph:
    """Nodes in order; their constants go to `data`. Values are referred to by name."""

    def __init__(self, data: ExternalData) -> None:
        self.data = data
        self.nodes: list[Any] = []
        self._made: set[str] = set()

    def __contains__(self, name: str) -> bool:
        """Whether a node gives the value of this name."""
        return name in self._made

    def node(
        self, op: str, inputs: list[str], output: str | list[str], domain: str | None = "", **attributes: Any
    ) -> str:
        """Appends a node and returns its first output, which is also the node's name. A `domain` of None is the
        standard's too, and is left out of the file."""
        outputs = [output] if isinstance(output, str) else output
        self._made.update(outputs)
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def widened(self, name: str, values: np.ndarray) -> str:
        """Float16 `values` as float32. They are stored in float16; a runtime widens them once, when it opens the
        model."""
        if name not in self:
            self.node("Cast", [self.data.write(name + NARROW, values)], name, to=TensorProto.FLOAT)
        return name

    def save(self, path: Path, name: str, inputs: list[Any], outputs: list[Any]) -> None:
        """Writes the model. It imports only the operator sets that its nodes use."""
        domains = {node.domain for node in self.nodes}
        model = helper.make_model(
            helper.make_graph(self.nodes, name, inputs, outputs, self.data.initializers),
            opset_imports=[helper.make_opsetid(domain, of) for domain, of in VERSIONS.items() if domain in domains],
            producer_name="edgesw",
            producer_version=GRAPH_VERSION,
            ir_version=IR_VERSION,
        )
        save_model(model, str(path))
