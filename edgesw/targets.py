"""The targets, in one place: what each format can carry, how it is written and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import Capabilities
from edgesw.errors import UsageError
from edgesw.package import Manifest
from edgesw.runtime.package import PackagedDecoder


@dataclass(frozen=True)
class Target:
    """A format of packages. `run(path, context, precision)`; `write(decoder, spec, context, name, path, residual_max)`,
    the last being the largest magnitude seen in the residual stream, for formats that compute in float16."""

    name: str
    title: str
    file: str
    capabilities: Capabilities
    write: Callable[[CompressedDecoder, DecoderSpec, int, str, Path, float], None]
    run: Callable[[Path, int, str], PackagedDecoder]


# Writers and runtimes are imported when used: each brings a library that takes long to load.
def _write_coreml(
    decoder: CompressedDecoder, spec: DecoderSpec, context: int, name: str, path: Path, residual_max: float
) -> None:
    from edgesw.emit.coreml import write_coreml

    write_coreml(decoder, spec, context, name, path, residual_max)


def _run_coreml(path: Path, context: int, precision: str) -> PackagedDecoder:
    from edgesw.runtime.coreml import open_coreml

    return open_coreml(path, context, precision)


def _write_onnx(
    decoder: CompressedDecoder, spec: DecoderSpec, context: int, name: str, path: Path, residual_max: float
) -> None:
    from edgesw.emit.onnx import write_onnx

    write_onnx(decoder, spec, context, name, path)


def _run_onnx(path: Path, context: int, precision: str) -> PackagedDecoder:
    from edgesw.runtime.onnx import OnnxDecoder

    return OnnxDecoder(path, context)


TARGETS = {
    target.name: target
    for target in (
        Target(
            "coreml",
            "Core ML",
            "model.mlpackage",
            # constexpr_blockwise_shift_scale knows 4 and 8 bits, constexpr_lut_to_dense six widths (iOS 18).
            Capabilities({"block": (4, 8), "palette": (2, 3, 4, 6, 8)}, whole_groups=True, scale_bits=16),
            _write_coreml,
            _run_coreml,
        ),
        Target(
            "onnx",
            "ONNX",
            "model.onnx",
            # MatMulNBits runs 2, 4 and 8 bits, and takes its scales in the type it computes in. It has no palettes.
            # GroupQueryAttention turns heads of whole 16 channels.
            Capabilities({"block": (2, 4, 8)}, whole_groups=False, scale_bits=32, head_multiple=16),
            _write_onnx,
            _run_onnx,
        ),
    )
}


def open_decoder(package: Path, manifest: Manifest, target: str, precision: str = "float16") -> PackagedDecoder:
    """What runs the package's model for `target` on this machine. UsageError for a target the package has not."""
    if target not in manifest.models or target not in TARGETS:
        raise UsageError(f"'{package}' has no {target} model: it has {', '.join(manifest.models)}.")
    return TARGETS[target].run(package / manifest.models[target], manifest.context, precision)
