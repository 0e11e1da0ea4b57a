"""A small ONNX package with external data, and hostile edits of its model and data file."""

from __future__ import annotations

import contextlib
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hostile
import tiny
from hypothesis import strategies as st
from mil_package import edit_proto
from onnx import ModelProto

from edgesw.inspect.onnx import inspect_onnx
from edgesw.package.manifest import Manifest, read_manifest
from edgesw.runtime.onnx_matrices import OnnxMatrices
from edgesw.runtime.onnx_structure import check_graph

MODEL, DATA = "model.onnx", "model.onnx.data"
INPUTS = st.tuples(
    st.lists(
        st.tuples(
            st.integers(0, 2**16),
            st.sampled_from(["set", "set", "set", "clear", "repeat"]),
            st.one_of(st.sampled_from(hostile.NUMBERS), st.integers(0, 40)),
            st.sampled_from(["codes", "MatMulNBits", "com.microsoft", "layers.0.down_proj.codes", *hostile.NAMES]),
        ),
        max_size=4,
    ),
    st.just([]) | hostile.byte_edits,
    st.just([]) | hostile.byte_edits,
)


@cache
def _package() -> tuple[Manifest, dict[str, bytes]]:
    """What `edgesw convert` writes of a tiny model."""
    with TemporaryDirectory() as name:
        model, package = Path(name) / "model", Path(name) / "package"
        tiny.save_llama(model, steps=0)
        ran = tiny.edgesw("convert", model, "--target", "onnx", "--calibrate", "none", "-o", package)
        assert ran.code == 0, ran.err
        return read_manifest(package), {each: (package / each).read_bytes() for each in (MODEL, DATA)}


def write(folder: Path, example: Any) -> int:
    edits, of_model, of_data = example if isinstance(example, tuple) else ([], [], [])
    files = _package()[1]
    proto = ModelProto.FromString(files[MODEL])
    for edit in edits:
        with contextlib.suppress(ValueError):  # a number that this kind of field cannot hold
            edit_proto(proto, *edit)
    size = (folder / MODEL).write_bytes(hostile.damaged(proto.SerializeToString(), of_model))
    return size + (folder / DATA).write_bytes(hostile.damaged(files[DATA], of_data))


def read(folder: Path) -> None:
    """What reads a model without running it: `inspect`, the check of its structure, and `validate --details`."""
    manifest = _package()[0]
    inspect_onnx(folder / MODEL)
    check_graph(folder / MODEL, standard=False)
    matrices = OnnxMatrices(folder / MODEL, manifest.decoder, False)
    for name in manifest.decoder.matrices():
        matrices.matrix(name)
