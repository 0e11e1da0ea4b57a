"""The names of an ONNX graph: the node that makes a value, the nodes that read it, the constant it comes from."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator
from itertools import chain

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

from edgesw.inspect.contents import Tensor
from edgesw.inspect.onnx_tensors import Tensors, as_text

# Operators that change neither which constant a value comes from nor the width of its codes.
_PASSES = {"Cast", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Gather"}
# How many operators are followed from a constant to a product, or from a product of integers to its scales.
_FAR = 4
# The index of a product's right operand, which has output channels last, by operator.
RIGHT = {"MatMul": 1, "MatMulInteger": 1, "MatMulIntegerToFloat": 1, "DynamicQuantizeMatMul": 1, "QLinearMatMul": 3,
         "Gemm": 1, "QGemm": 3, "QAttention": 1}  # fmt: skip


class Scope:
    """The names of one graph, which include those of the graphs around it."""

    def __init__(self, graph: GraphProto, tensors: Tensors, around: Scope | None = None) -> None:
        self.nodes = list(graph.node)
        for node in self.nodes:
            for name in (node.op_type, node.domain, node.name, *node.input, *node.output):
                as_text(name)
        self.own: dict[str, Tensor] = {each.name: tensors.read(each) for each in graph.initializer}
        for sparse in graph.sparse_initializer:
            self.own[sparse.values.name] = tensors.read(sparse.values)
            self.own[f"{sparse.values.name} (places)"] = tensors.read(sparse.indices, f"{sparse.values.name} (places)")
        for node in self.nodes:
            if node.op_type == "Constant" and (constant := tensors.constant(node)) is not None:
                self.own[constant.name] = constant
        made = {name: node for node in self.nodes for name in node.output if name}
        self._makers: ChainMap[str, NodeProto] = ChainMap(made, *(around._makers.maps if around else []))
        self._tensors: ChainMap[str, Tensor] = ChainMap(self.own, *(around._tensors.maps if around else []))
        self._takers: dict[str, list[tuple[NodeProto, int]]] = {}
        self._last: dict[tuple[str, int], bool | None] = {}
        for node in self.nodes:
            for index, name in enumerate(node.input):
                self._takers.setdefault(name, []).append((node, index))

    def origin(self, name: str) -> Tensor | None:
        """The constant that a value is, apart from type, axes and a selection of rows; None for other values."""
        for _ in range(_FAR):
            node = self._makers.get(name)
            if name in self._tensors or node is None or node.op_type not in _PASSES or not node.input:
                break
            name = node.input[0]
        return self._tensors.get(name) if name else None

    def input(self, node: NodeProto, index: int | None) -> Tensor | None:
        """The constant that an input of a node comes from, if any."""
        return self.origin(node.input[index]) if index is not None and index < len(node.input) else None

    def outputs_last(self, name: str, far: int = _FAR) -> bool | None:
        """Whether the output channels of the product that reads a value are its last axis. The value may pass through
        operators that leave it a matrix; None where no product is found."""
        if (name, far) not in self._last:  # asked once: a damaged graph may give one value many makers
            self._last[name, far] = self._outputs_last(name, far)
        return self._last[name, far]

    def _outputs_last(self, name: str, far: int) -> bool | None:
        for node, index in self._takers.get(name, ()) if far else ():
            if RIGHT.get(node.op_type) == index:
                return not integer(node, "transB", 0)
            if index == 0 and node.op_type in ("Cast", "Identity", "DequantizeLinear", "QuantizeLinear"):
                return self.outputs_last(node.output[0], far - 1)
            if node.op_type == "Transpose":
                after = self.outputs_last(node.output[0], far - 1)
                return None if after is None else not after
        return None

    def scale_after(self, node: NodeProto) -> Tensor | None:
        """The scales of a product of integers: the constant by which it is multiplied."""
        name = node.output[0]
        for _ in range(_FAR):
            taker, index = next(iter(self._takers.get(name, ())), (None, 0))
            if taker is None or taker.op_type not in ("Cast", "Mul"):
                return None
            if taker.op_type == "Mul":
                factor = taker.input[1 - index]
                maker = self._makers.get(factor)
                # The scales of the weight come after those of the input, which may be constant too.
                factors = [factor, *reversed(maker.input[:2] if maker is not None and maker.op_type == "Mul" else ())]
                if (scale := next(filter(None, map(self.origin, factors)), None)) is not None:
                    return scale
            name = taker.output[0]
        return None

    def user(self, name: str) -> str:
        """The first node that reads a value, or ""."""
        return next((node.name for node, _ in self._takers.get(name, ())), "")


def scopes(model: ModelProto, tensors: Tensors) -> Iterator[Scope]:
    """The scopes of the main graph, of the graphs in its nodes, and of the model's functions, outermost first."""
    yield from _within(model.graph, tensors, None)
    for function in model.functions:
        yield from _within(GraphProto(node=function.node), tensors, None)


def integer(node: NodeProto, name: str, default: int) -> int:
    return next((int(each.i) for each in node.attribute if each.name == name), default)


def _within(graph: GraphProto, tensors: Tensors, around: Scope | None) -> Iterator[Scope]:
    scope = Scope(graph, tensors, around)
    yield scope
    for attribute in chain.from_iterable(node.attribute for node in graph.node):
        inner = [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs
        for each in inner:
            yield from _within(each, tensors, scope)
