"""The contents of an .mlpackage, from any producer. Values are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgesw.errors import UnreadableError, first_line
from edgesw.files.header_bounds import MOST_AXES
from edgesw.formats.coreml_layout import COMPUTE_KEY
from edgesw.inspect.contents import ModelContents, Port
from edgesw.inspect.coreml_weights import ProgramWeights
from edgesw.runtime.coreml_shapes import array_shapes
from edgesw.runtime.mil_plan import model_path, read_spec
from edgesw.system.log_filter import coremltools

# The first system that reads a specification version, where it has ML programs.
_SYSTEMS = {6: "iOS 15", 7: "iOS 16", 8: "iOS 17", 9: "iOS 18", 10: "iOS 26"}


def inspect_coreml(package: Path) -> ModelContents:
    """Reads the headers of an .mlpackage. UnreadableError for a model that is not an ML program, PackageError for a
    damaged one, UnsupportedError for an unknown type of numbers."""
    model = model_path(package)
    spec = read_spec(model)
    if (kind := spec.WhichOneof("Type")) != "mlProgram":
        raise UnreadableError(
            f"{package} is a Core ML model but not an ML program ({kind or 'empty'}), and only those are inspected: "
            "convert it with convert_to='mlprogram'."
        )
    try:
        return _contents(package, model, spec)
    # A program may lack any part, and what is flexible may not fit: a damaged one has any of these.
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise UnreadableError(f"{package} is damaged ({first_line(error)}). Get or write it again.") from error


def _contents(package: Path, model: Path, spec: Any) -> ModelContents:
    functions = {name: _block(function, package) for name, function in spec.mlProgram.functions.items()}
    weights = ProgramWeights(model.parent)
    operators: Counter[str] = Counter()
    for name, block in functions.items():
        weights.add(name, _operations(block))
        operators.update(op.type for op in _operations(block) if op.type != "const")
    known, others = weights.contents(by_edgesw=COMPUTE_KEY in spec.description.metadata.userDefined)
    version = spec.specificationVersion
    system = {"from": _SYSTEMS[version]} if version in _SYSTEMS else {}
    opsets = sorted({function.opset for function in spec.mlProgram.functions.values()})
    return ModelContents(
        package,
        "Core ML",
        {"specification": str(version), **system, "opset": ", ".join(opsets)},
        known,
        others,
        dict(operators.most_common()),
        tuple(_ports(spec.description, functions)),
        sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
    )


def _block(function: Any, package: Path) -> Any:
    if function.opset not in function.block_specializations:
        raise UnreadableError(f"{package}: the program has no block for its opset '{function.opset}'. Write it again.")
    return function.block_specializations[function.opset]


def _operations(block: Any) -> Iterator[Any]:
    """All operations; those of blocks within an operation come before it."""
    for op in block.operations:
        for inner in op.blocks:
            yield from _operations(inner)
        yield op


def _ports(description: Any, functions: dict[str, Any]) -> Iterator[Port]:
    several = list(description.functions)
    for each in several or [description]:
        name = each.name if several else ""
        block = functions.get(name) if several else next(iter(functions.values()), None)
        made = {} if block is None else {out.name: out for op in block.operations for out in op.outputs}
        for kind in ("input", "state", "output"):
            for feature in getattr(each, kind):
                # Descriptions may leave out the shapes of outputs, which the program has.
                port = _port(feature, kind, name)
                if kind == "output" and not port.shape and feature.name in made:
                    port = Port(port.name, kind, port.type, _dimensions(made[feature.name].type), function=name)
                yield port


def _port(feature: Any, kind: str, function: str) -> Port:
    kind_of_type = feature.type.WhichOneof("Type") or "?"
    array = None
    if kind_of_type == "multiArrayType":
        array = feature.type.multiArrayType
    elif kind_of_type == "stateType":
        array = feature.type.stateType.arrayType
    if array is None:
        return Port(feature.name, kind, kind_of_type.removesuffix("Type"), (), feature.type.isOptional, function)
    types = coremltools().proto.FeatureTypes_pb2.ArrayFeatureType.ArrayDataType
    known = array.dataType in types.values()
    name = str(types.Name(array.dataType)).lower() if known else f"type {array.dataType}"
    return Port(feature.name, kind, name, _shape(array), feature.type.isOptional, function)


def _shape(array: Any) -> tuple[int | str, ...]:
    shapes = array_shapes(array)
    if shapes.ranges:
        return tuple(low if low == high else f"{low}..{'' if high is None else high}" for low, high in shapes.ranges)
    distinct = (sorted(set(lengths)) for lengths in zip(*(shapes.choices or [shapes.default]), strict=True))
    return tuple(each[0] if len(each) == 1 else " or ".join(map(str, each)) for each in distinct)


def _dimensions(kind: Any) -> tuple[int | str, ...]:
    tensor = kind.tensorType
    if len(tensor.dimensions) > MOST_AXES:
        raise ValueError(f"an output has more than {MOST_AXES} axes")
    return tuple(
        int(each.constant.size) if each.WhichOneof("dimension") == "constant" else "?" for each in tensor.dimensions
    )
