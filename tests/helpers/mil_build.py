"""Builds and saves small ML programs with coremltools' own builder, for the tests of the MIL interpreter."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

logging.getLogger("coremltools").setLevel(logging.ERROR)
pytest.importorskip("coremltools.libmilstoragepython", reason="coremltools has no native build for this machine")

import coremltools as ct  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402


def save(path: Path, specs: Sequence[Any], body: Callable[..., Any], inputs: Any = None, **metadata: str) -> Path:
    """Saves the program `body` (a function of the `specs`' variables) unoptimised; `inputs` gives flexible shapes."""
    names = [f"v{n}" for n in range(len(specs))]
    namespace: dict[str, Any] = {"body": body}
    exec(f"def main({', '.join(names)}): return body({', '.join(names)})", namespace)  # the builder reads arg names
    program = mb.program(input_specs=list(specs), opset_version=ct.target.iOS18)(namespace["main"])
    model = ct.convert(
        program, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY, **({"inputs": inputs} if inputs else {}),
    )  # fmt: skip
    model.user_defined_metadata.update(metadata)
    model.save(str(path))
    return path


def weight_file(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def reload(package: Path) -> Any:
    """The main function as coremltools itself reads it back: the independent reference for what was stored."""
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = ct.utils.load_spec(str(package))
    return load(spec, spec.specificationVersion, str(weight_file(package).parent)).functions["main"]
