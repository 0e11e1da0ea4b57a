"""The contents of an ONNX model, from any producer. Values are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto

from edgesw.errors import UnreadableError
from edgesw.files.header_bounds import MOST_AXES
from edgesw.inspect.contents import ModelContents, Port
from edgesw.inspect.onnx_scope import scopes
from edgesw.inspect.onnx_tensors import Tensors, as_text, type_name
from edgesw.inspect.onnx_weights import find_weights

# Before this version initializers had to be among the inputs, so an input with an initializer need not be optional.
_OPTIONAL_SINCE = 4


def inspect_onnx(path: Path) -> ModelContents:
    """Reads the headers of an ONNX model. UnreadableError for a file that is not one, is damaged, or lacks its data."""
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UnreadableError(f"{path} is damaged or not an ONNX model. Get or write it again.") from error
    if not model.ir_version or not model.graph.node:
        raise UnreadableError(f"{path} is not an ONNX model: it has no graph. Give the path of another file.")
    try:
        return _contents(path, model)
    # Missing inputs, lengths that do not fit, names that are not text: a model with a flipped bit has any of these.
    except (TypeError, ValueError, IndexError, KeyError, ArithmeticError) as error:
        raise UnreadableError(f"{path} is damaged ({error}). Get or write it again.") from error


def _contents(path: Path, model: ModelProto) -> ModelContents:
    tensors = Tensors(path)
    every = list(scopes(model, tensors))
    weights, others = find_weights(every, by_edgesw=model.producer_name == "edgesw")
    operators = Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for scope in every
        for node in scope.nodes
    )
    versions = {as_text(each.domain) or "opset": str(each.version) for each in model.opset_import}
    maker = f"{as_text(model.producer_name)} {as_text(model.producer_version)}".strip()
    return ModelContents(
        path,
        "ONNX",
        {**versions, "IR": str(model.ir_version), **({"made by": maker} if maker else {})},
        weights,
        others,
        dict(operators.most_common()),
        tuple(_ports(model)),
        path.stat().st_size + sum(tensors.files.values()),
    )


def _ports(model: ModelProto) -> Iterator[Port]:
    held = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in held or model.ir_version >= _OPTIONAL_SINCE:
            yield _port(value, "input", value.name in held)
    for value in model.graph.output:
        yield _port(value, "output")


def _port(value: ValueInfoProto, kind: str, optional: bool = False) -> Port:
    as_text(value.name)
    if value.type.WhichOneof("value") != "tensor_type":
        return Port(value.name, kind, (value.type.WhichOneof("value") or "?").removesuffix("_type"), (), optional)
    tensor = value.type.tensor_type
    shape: list[int | str] = [
        int(each.dim_value) if each.HasField("dim_value") else as_text(each.dim_param) or "?"
        for each in tensor.shape.dim[: MOST_AXES + 1]
    ]
    if len(shape) > MOST_AXES:
        raise ValueError(f"'{value.name}' has more than {MOST_AXES} axes")
    return Port(value.name, kind, type_name(tensor.elem_type), tuple(shape), optional)
