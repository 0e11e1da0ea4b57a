"""Core ML: .mlpackage models for iPhones, iPads and Macs."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.compress.split import chunks_needed, split_layers
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError, UsageError
from edgesw.formats.activation_quantization import STATIC
from edgesw.formats.coreml_layout import UNITS, CoreMLLayout, make_layout
from edgesw.formats.write_options import WriteOptions
from edgesw.inspect.contents import ModelContents
from edgesw.package.manifest import Manifest, PackagedModel
from edgesw.runtime.packaged_decoder import PackagedDecoder, PackageMatrices
from edgesw.system.findings import Finding, why_not
from edgesw.targets.target import PROMPT, Target, render

MACOS = 15  # the first that runs the packages


@dataclass(frozen=True)
class CoreMLOptions:
    """What a user can ask of a Core ML model."""

    compute: str = "gpu"
    """The compute units it is made for, one of UNITS."""
    lengths: tuple[int, ...] | None = None
    """How many tokens it takes at once; empty: any number; None: what suits the units."""
    chunks: int = 1
    """How many packages its layers are split into; 0: as many as iPhones need."""
    ablation: bool = False
    """Whether each function is there a second time without what is held out."""


class CoreMLTarget(Target[CoreMLOptions, CoreMLLayout]):
    """Core ML."""

    name, title, suffix = "coreml", "Core ML", ".mlpackage"
    asked, options = CoreMLOptions, CoreMLLayout
    libraries = {"coremltools": "Core ML packages"}  # noqa: RUF012 - a class variable, as Target says
    granularities = (STATIC,)  # quantize and dequantize ops have constant scales
    units = UNITS
    flags = ("--compute", "--lengths", "--chunks", "--ablation")

    def capabilities(self, options: CoreMLLayout, quantized_activations: bool = False) -> Capabilities:
        """constexpr_blockwise_shift_scale knows 4 and 8 bits, constexpr_lut_to_dense six widths (iOS 18). The Neural
        Engine takes palettes and no blocks (coremltools issue #2510). Products of integers have one scale per row."""
        can = Capabilities({"block": (4, 8), "palette": (2, 3, 4, 6, 8)}, whole_groups=True)
        if options.compute not in ("gpu", "cpu"):
            can = replace(can, widths={"palette": can.widths["palette"]}, end="palette")
        return replace(can, widths={"block": (8,)}, whole_rows=True) if quantized_activations else can

    def check(self, asked: CoreMLOptions, *, hold_out: bool, activations: str | None) -> None:
        if asked.ablation and not hold_out:
            raise UsageError("--ablation and --no-hold-out are mutually exclusive: give one of them.")
        if asked.ablation and activations:  # held-out columns' inputs would be quantized within ranges without them
            raise UsageError("--ablation and --activations 8 are mutually exclusive: give one of them.")

    def resolve(self, asked: CoreMLOptions, context: int) -> CoreMLLayout:
        return make_layout(asked.compute, asked.lengths, max(asked.chunks, 1), context, asked.ablation)

    def fit(
        self, options: CoreMLLayout, asked: CoreMLOptions, spec: DecoderSpec, plan: CompressionPlan
    ) -> CoreMLLayout:
        options = replace(options, chunks=asked.chunks or chunks_needed(spec, plan))
        split_layers(spec, plan, options.chunks)
        return options

    def path(self, options: CoreMLLayout) -> str:
        return "model.mlpackage" if options.chunks == 1 else "model-chunks"

    def write(
        self, decoder: CompressedDecoder, spec: DecoderSpec, options: CoreMLLayout, common: WriteOptions, path: Path
    ) -> None:
        from edgesw.emit.coreml import write_coreml

        write_coreml(decoder, spec, options, common, path)

    def open(
        self,
        path: Path,
        context: int,
        *,
        precision: str = "float16",
        compute: str | None = None,
        corrected: bool = True,
    ) -> PackagedDecoder:
        from edgesw.runtime.coreml import open_coreml

        return open_coreml(path, context, precision, compute, corrected)

    def runs_here(self, plan: CompressionPlan) -> bool:
        """Off a Mac, in the interpreter; on a Mac, if its Core ML is recent enough."""
        return not self.is_native() or _macos() >= MACOS

    def run_bytes(self, plan: CompressionPlan, options: CoreMLLayout) -> int:
        """Core ML's own copy of the weights; or in the interpreter the mapped file, the largest matrix decoded to
        float32, and for convolutions what malloc does not give back: all matrices that were decoded, function by
        function. Measured on SmolLM2-135M."""
        if self.is_native():
            return 2 * plan.stored_bytes
        decoded = 4 * sum(matrix.weights for matrix in plan.matrices) * len(options.lengths)
        return plan.stored_bytes + 6 * plan.largest + (decoded if options.convolutions else 0)

    def open_once(self, path: Path, context: int, corrected: bool) -> PackagedDecoder:
        from edgesw.runtime.coreml import open_coreml

        return open_coreml(path, context, corrected=corrected, keep_weights=False)

    def prompts(self, options: CoreMLLayout) -> tuple[int, ...]:
        """For programs of fixed lengths a prompt for each of them: more tokens than the next shorter one takes."""
        before = (0, *options.lengths)
        each = (max(shorter + 1, min(PROMPT, length)) for shorter, length in zip(before, options.lengths, strict=False))
        return tuple(each) or (PROMPT,)

    def check_structure(self, path: Path, options: CoreMLLayout) -> None:
        from edgesw.runtime.coreml_interface import packages, read_interface

        super().check_structure(path, options)
        for package in packages(path):
            there = {function.name for function in read_interface(package).functions}
            if missing := {function.name for function in options.functions} - there:
                raise PackageError(f"{package}: function '{min(missing)}' is missing: convert again.")

    def matrices(self, package: Path, manifest: Manifest) -> PackageMatrices:
        from edgesw.runtime.coreml_matrices import CoreMLMatrices

        zeroed = manifest.settings.activations is not None
        return CoreMLMatrices(self.model_path(package, manifest), manifest.decoder, manifest.held_out_columns, zeroed)

    def reads(self, path: Path) -> bool:
        return path.suffix == self.suffix and path.is_dir()

    def inspect(self, path: Path) -> tuple[ModelContents, ...]:
        from edgesw.inspect.coreml import inspect_coreml
        from edgesw.runtime.coreml_interface import packages

        return tuple(map(inspect_coreml, packages(path)))

    def usage(self, manifest: Manifest) -> str:
        layout = self.options_of(manifest.models[self.name])
        flexible = not layout.lengths and layout.chunks == 1
        return render("coreml.md", model=manifest.models[self.name], layout=layout, flexible=flexible)

    def findings(self) -> Iterator[Finding]:
        yield _core_ml()
        # coremltools is pure Python where there is no wheel for the machine. Weights are written without its libraries.
        there = why_not("coremltools.libmilstoragepython") is None
        what = "libmilstoragepython" if there else "no: conversions do without them, some tests do not"
        yield Finding("coremltools, native", there, what)

    def is_native(self) -> bool:
        return sys.platform == "darwin"

    def unit_shares(self, path: Path, compute: str | None) -> dict[str, float] | None:
        from edgesw.runtime.compute_plan import load_plans, unit_shares
        from edgesw.runtime.coreml_interface import packages

        return unit_shares(load_plans(packages(path), compute)) if self.is_native() else None

    def has_ablation(self, options: CoreMLLayout) -> bool:
        return options.ablation

    def options_to_dict(self, options: CoreMLLayout) -> dict[str, Any]:
        """The layout, and the functions that follow from it, for runtimes that would have to derive them."""
        functions = sorted(options.functions, key=lambda function: not function.corrected)
        described = [{**asdict(each), "corrected": each.corrected} for each in functions]
        return {**super().options_to_dict(options), "functions": described}

    def options_of(self, model: PackagedModel) -> CoreMLLayout:
        layout = {key: value for key, value in model.options.items() if key != "functions"}
        options = super().options_of(replace(model, options=layout))
        if options.compute not in UNITS or options.chunks < 1 or not all(length > 0 for length in options.lengths):
            raise PackageError("manifest.json is damaged (options of coreml): convert again.")
        return options


def _core_ml() -> Finding:
    interpreted = "packages are written, and run in edgesw's interpreter"
    if sys.platform != "darwin":
        return Finding("Core ML", False, f"no: {interpreted}")
    version = platform.mac_ver()[0]
    if _macos() < MACOS:
        return Finding("Core ML", False, f"no: packages need macOS {MACOS} or later, and this is {version}")
    return Finding("Core ML", True, f"macOS {version}")


def _macos() -> int:
    return int(platform.mac_ver()[0].split(".")[0])
