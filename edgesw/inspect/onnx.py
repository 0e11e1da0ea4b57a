"""What is inside an ONNX model, of any maker. Values are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto, ValueInfoProto

from edgesw.errors import UnreadableError
from edgesw.inspect.contents import Found, Port
from edgesw.inspect.onnx_scope import scopes
from edgesw.inspect.onnx_tensors import Tensors, type_name
from edgesw.inspect.onnx_weights import find_weights

# Before this version initializers had to be among the inputs, so that being both says nothing.
_OPTIONAL_SINCE = 4


def inspect_onnx(path: Path) -> Found:
    """Raises UnreadableError for a file that is no ONNX model, is damaged, or misses its data."""
    model = ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UnreadableError(f"{path} is damaged or no ONNX model. Get or write it again.") from error
    if not model.ir_version or not model.graph.node:
        raise UnreadableError(f"{path} is no ONNX model: it has no graph. Give the path of another file.")
    try:
        return _found(path, model)
    # Inputs that are missing, lengths that do not fit, names that are no text: what a flipped bit makes of a model.
    except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise UnreadableError(f"{path} is damaged ({error}). Get or write it again.") from error


def _found(path: Path, model: ModelProto) -> Found:
    tensors = Tensors(path)
    found = list(scopes(model, tensors))
    weights, others = find_weights(found, ours=model.producer_name == "edgesw")
    operators = Counter(
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for scope in found
        for node in scope.nodes
    )
    versions = {each.domain or "opset": str(each.version) for each in model.opset_import}
    maker = f"{model.producer_name} {model.producer_version}".strip()
    return Found(
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
    if value.type.WhichOneof("value") != "tensor_type":
        return Port(value.name, kind, (value.type.WhichOneof("value") or "?").removesuffix("_type"), (), optional)
    tensor = value.type.tensor_type
    shape: list[int | str] = [
        int(each.dim_value) if each.HasField("dim_value") else each.dim_param or "?" for each in tensor.shape.dim
    ]
    return Port(value.name, kind, type_name(tensor.elem_type), tuple(shape), optional)
