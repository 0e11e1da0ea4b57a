"""Checks of an ONNX model that need no runtime, for one that is too large to be run."""

from __future__ import annotations

from pathlib import Path

from edgesw.errors import PackageError, first_line


def check_graph(path: Path, standard: bool) -> None:
    """PackageError for a model whose nodes or outputs read what nothing before them gives; for one in operators of the
    `standard` alone also where onnx's own checker finds fault. It does not know onnxruntime's operators."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    known = {"", *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}
    for node in graph.node:
        if missing := set(node.input) - known:
            raise PackageError(
                f"{path}: node '{node.name}' reads '{min(missing)}', which nothing gives: convert again."
            )
        known.update(node.output)
    if missing := {value.name for value in graph.output} - known:
        raise PackageError(f"{path}: nothing gives the output '{min(missing)}': convert again.")
    if standard:
        try:
            onnx.checker.check_model(str(path))
        except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
            raise PackageError(f"{path}: not a valid ONNX model ({first_line(error)}): convert again.") from error
