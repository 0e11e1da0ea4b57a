"""ONNX: models for onnxruntime and onnxruntime-genai, or in the standard's own operators for other runtimes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.spec import DecoderSpec
from edgesw.formats.activation_quantization import RANGES
from edgesw.formats.write_options import WriteOptions
from edgesw.inspect.contents import ModelContents
from edgesw.package.manifest import Manifest
from edgesw.progress import Progress
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices
from edgesw.system.findings import Finding, optional_library, why_not
from edgesw.targets.target import Target, render

TWO_BITS = (1, 24)
"""The first version of onnxruntime that runs 2-bit weights."""


@dataclass(frozen=True)
class OnnxOptions:
    """What a user can ask of an ONNX model."""

    portable: bool = False
    """Operators of the ONNX standard alone."""


class OnnxTarget(Target[OnnxOptions, OnnxOptions]):
    """ONNX."""

    name, title, suffix = "onnx", "ONNX", ".onnx"
    asked = options = OnnxOptions
    libraries = {"onnx": "ONNX packages"}  # noqa: RUF012 - a class variable, as Target says
    granularities = RANGES
    flags = ("--portable",)
    runs_on_arm = True

    def capabilities(self, options: OnnxOptions, quantized_activations: bool = False) -> Capabilities:
        """MatMulNBits runs 2, 4 and 8 bits; there are no palettes. GroupQueryAttention rotates heads of 16 channels.
        The standard's own types of opset 21 have 4 and 8 bits. Products of integers have one scale per row."""
        if options.portable:
            can = Capabilities({"block": (4, 8)}, whole_groups=False)
        else:
            can = Capabilities({"block": (2, 4, 8)}, whole_groups=False, head_multiple=16)
        return replace(can, widths={"block": (8,)}, whole_rows=True) if quantized_activations else can

    def resolve(self, asked: OnnxOptions, context: int) -> OnnxOptions:
        return asked

    def path(self, options: OnnxOptions) -> str:
        return "model.onnx"

    def write(
        self, decoder: CompressedDecoder, spec: DecoderSpec, options: OnnxOptions, common: WriteOptions, path: Path
    ) -> None:
        from edgesw.emit.onnx import write_onnx

        write_onnx(decoder, spec, options.portable, common, path)

    def open(
        self,
        path: Path,
        context: int,
        *,
        precision: str = "float16",
        compute: str | None = None,
        corrected: bool = True,
    ) -> PackagedDecoder:
        from edgesw.runtime.onnx import OnnxDecoder

        return OnnxDecoder(path, context)

    def runs_here(self, plan: CompressionPlan) -> bool:
        """onnxruntime's MatMulNBits has 2 bits since version 1.24, which is not available for Python 3.10."""
        if why_not("onnxruntime") is not None:
            return False
        import onnxruntime

        version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
        return version >= TWO_BITS or all(matrix.scheme.bits != 2 for matrix in plan.matrices)

    def run_bytes(self, plan: CompressionPlan, options: OnnxOptions) -> int:
        """onnxruntime maps the file, and packs matrices anew in memory. Of the standard's operators it makes its own as
        far as it can; the others' matrices are in float32."""
        weights = sum(matrix.weights for matrix in plan.matrices)
        return 2 * plan.stored_bytes + (4 * weights if options.portable else 0)

    def check_structure(self, path: Path, options: OnnxOptions) -> None:
        from edgesw.runtime.onnx_structure import check_graph

        super().check_structure(path, options)
        check_graph(path, standard=options.portable)

    def matrices(self, package: Path, manifest: Manifest) -> PackageMatrices:
        from edgesw.runtime.onnx_matrices import OnnxMatrices

        zeroed = manifest.settings.activations is not None
        return OnnxMatrices(self.model_path(package, manifest), manifest.decoder, zeroed)

    def inspect(self, path: Path) -> tuple[ModelContents, ...]:
        from edgesw.inspect.onnx import inspect_onnx

        return (inspect_onnx(path),)

    def usage(self, manifest: Manifest) -> str:
        return render("onnx.md", options=self.options_of(manifest.models[self.name]))

    def findings(self) -> Iterator[Finding]:
        yield optional_library("onnxruntime", "ONNX packages are written, but not run")
        yield optional_library("onnxruntime-genai", "needed only to run packages as apps do")
        yield _providers()
        yield _arm()

    def open_on_arm(self, path: Path, context: int, cpu: str, progress: Progress) -> PackagedDecoder:
        from edgesw.runtime.arm_decoder import Arm64Decoder
        from edgesw.runtime.arm_machine import arm64

        return Arm64Decoder(path, context, arm64(cpu, progress))


def _providers() -> Finding:
    if why_not("onnxruntime") is not None:
        return Finding("onnxruntime's providers", False, "none")
    import onnxruntime

    return Finding("onnxruntime's providers", True, ", ".join(onnxruntime.get_available_providers()))


def _arm() -> Finding:
    from edgesw.runtime.arm_machine import can_be_emulated, is_native

    if is_native():
        return Finding("ARM", True, "native")
    if not can_be_emulated():
        return Finding("ARM", False, "no: emulated on x86-64 Linux only")
    missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if missing:
        return Finding("ARM", False, f"no: emulation is set up with {' and '.join(missing)}, not found here")
    return Finding("ARM", True, "emulated (edgesw validate --runtime arm64)")
