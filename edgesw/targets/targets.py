"""The targets, in one place: what each format can carry, how it is written and what runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import Capabilities
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.formats.coreml_layout import CoreMLLayout
from edgesw.formats.write_options import WriteOptions
from edgesw.package.package import Manifest
from edgesw.runtime.packaged_decoder import PackagedDecoder


@dataclass(frozen=True)
class Target:
    """A format of packages. `run(path, context, precision, compute, corrected)`; `write(decoder, spec, packaging,
    path)`."""

    name: str
    title: str
    file: str
    capabilities: Capabilities
    write: Callable[[CompressedDecoder, DecoderSpec, WriteOptions, Path], None]
    run: Callable[[Path, int, str, str | None, bool], PackagedDecoder]
    has_forms: bool = False
    """Whether it is shaped for compute units, lengths and chunks."""

    def path(self, form: CoreMLLayout) -> str:
        """Where the model is in a package: a file, or for several chunks a folder."""
        return self.file if form.chunks == 1 or not self.has_forms else f"{Path(self.file).stem}-chunks"

    def capabilities_for(self, form: CoreMLLayout, portable: bool = False, rounded: bool = False) -> Capabilities:
        """What the format can carry in this form: the Neural Engine takes palettes, no blocks (coremltools issue
        #2510), and ONNX' own types of opset 21 have 4 and 8 bits. Products with `rounded` inputs are those of integers
        of 8 bits, where a row has one scale."""
        can = self.capabilities
        if portable and not self.has_forms:
            can = replace(can, widths={"block": (4, 8)}, head_multiple=1)
        if self.has_forms and form.compute not in ("gpu", "cpu"):
            can = replace(can, widths={"palette": can.widths["palette"]}, end="palette")
        return replace(can, widths={"block": (8,)}, whole_rows=True) if rounded else can


# Writers and runtimes are imported when used: each brings a library that takes long to load.
def _write_coreml(decoder: CompressedDecoder, spec: DecoderSpec, packaging: WriteOptions, path: Path) -> None:
    from edgesw.emit.coreml import write_coreml

    write_coreml(decoder, spec, packaging, path)


def _run_coreml(
    path: Path, context: int, precision: str, compute: str | None = None, corrected: bool = True
) -> PackagedDecoder:
    from edgesw.runtime.coreml import open_coreml

    return open_coreml(path, context, precision, compute, corrected)


def _write_onnx(decoder: CompressedDecoder, spec: DecoderSpec, packaging: WriteOptions, path: Path) -> None:
    from edgesw.emit.onnx import write_onnx

    write_onnx(decoder, spec, packaging, path)


def _run_onnx(
    path: Path, context: int, precision: str, compute: str | None = None, corrected: bool = True
) -> PackagedDecoder:
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
            Capabilities({"block": (4, 8), "palette": (2, 3, 4, 6, 8)}, whole_groups=True),
            _write_coreml,
            _run_coreml,
            has_forms=True,
        ),
        Target(
            "onnx",
            "ONNX",
            "model.onnx",
            # MatMulNBits runs 2, 4 and 8 bits; there are no palettes. GroupQueryAttention turns heads of 16 channels.
            Capabilities({"block": (2, 4, 8)}, whole_groups=False, head_multiple=16),
            _write_onnx,
            _run_onnx,
        ),
    )
}


def check_target(package: Path, manifest: Manifest, target: str) -> None:
    """UsageError for a target the package has not."""
    if target not in manifest.models or target not in TARGETS:
        raise UsageError(f"'{package}' has no {target} model: it has {', '.join(manifest.models)}. Take one of these.")


def has_ablation(manifest: Manifest, target: str) -> bool:
    """Whether the model for `target` is there without what is held out too."""
    form = manifest.settings.get("form")
    return TARGETS[target].has_forms and isinstance(form, dict) and form.get("ablation") is True


def open_decoder(
    package: Path,
    manifest: Manifest,
    target: str,
    precision: str = "float16",
    compute: str | None = None,
    corrected: bool = True,
) -> PackagedDecoder:
    """What runs the package's model for `target` on this machine: on a Mac on the units `compute`, None for those that
    it is made for. Not `corrected`: without what is held out. UsageError for what the package has not."""
    check_target(package, manifest, target)
    if not corrected and not has_ablation(manifest, target):
        raise UsageError(
            f"'{package}' has no {target} model without what is held out: convert with --target coreml --ablation."
        )
    return TARGETS[target].run(package / manifest.models[target], manifest.context, precision, compute, corrected)
