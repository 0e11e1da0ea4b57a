"""Whether a Core ML package, read by coremltools' own reader, contains the matrices that were compressed."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np

from benchmarks.lib.model import open_model
from benchmarks.lib.printing import Stages
from edgesw.calibration.calibrate import calibrate
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import LAYER_MATRICES
from edgesw.package.manifest import read_manifest
from edgesw.system.log_filter import coremltools
from edgesw.text.texts import shipped_text


def read_back(source: Path, package: Path) -> str:
    """Compresses the first and last layer's matrices again and compares them with the package; returns the verdict.
    Exits when they differ, or when the conversion compensated errors, as matrices then depend on one another."""
    (checkpoint, tokenizer), manifest = open_model(str(source)), read_manifest(package)
    calibration = calibrate(checkpoint, tokenizer, shipped_text("calibration"), Stages())
    if calibration.ids is not None:
        sys.exit("Error: this conversion compensated errors, so its matrices depend on one another.")
    plan = make_plans(checkpoint.spec, Settings(("coreml",))).compressions["coreml"]
    hold_out = HoldOut({name: tuple(each) for name, each in manifest.held_out_columns.items()})
    decoder = CompressedDecoder(checkpoint, plan, calibration.mean_squares, hold_out)
    layers = (0, checkpoint.spec.layers - 1)
    wanted = [str(TensorName(layer, kind)) for layer in layers for kind in LAYER_MATRICES]
    stored = _stored(package / manifest.models["coreml"].path, set(wanted))
    for name in wanted:
        if not np.array_equal(stored[name], decoder.matrix(name).dense.decode().astype(np.float16)):
            sys.exit(f"Error: {name} in the package is not what was compressed.")
    return f"coremltools reads the package; layers {layers[0]} and {layers[1]} are what was compressed, code for code."


def _stored(package: Path, names: set[str]) -> dict[str, np.ndarray]:
    """These matrices, decoded by coremltools, float16."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    ct = coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = ct.utils.load_spec(str(package))
    program = load(spec, spec.specificationVersion, str(package / "Data" / "com.apple.CoreML" / "weights"))
    ops = {op.name: op for op in program.functions["main"].operations if op.op_type.startswith("constexpr_")}
    return {name: np.asarray(ops[name.replace(".", "_")].materialized_val_inference()) for name in names}
