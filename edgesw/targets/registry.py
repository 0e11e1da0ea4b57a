"""The registry of targets: the one place that knows how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgesw.errors import UsageError
from edgesw.package.manifest import Manifest
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.coreml import CoreMLTarget
from edgesw.targets.onnx import OnnxTarget
from edgesw.targets.target import Target

TARGETS: dict[str, Target[Any, Any]] = {target.name: target for target in (CoreMLTarget(), OnnxTarget())}


def packaged_target(package: Path, manifest: Manifest, name: str) -> Target[Any, Any]:
    """The target `name`, which the package has a model for. UsageError where it has none."""
    if name not in manifest.models or name not in TARGETS:
        raise UsageError(f"'{package}' has no {name} model: it has {', '.join(manifest.models)}. Take one of these.")
    return TARGETS[name]


def has_ablation(manifest: Manifest, name: str) -> bool:
    """Whether the package's model for a target can run without what is held out too."""
    target = TARGETS.get(name)
    return target is not None and target.has_ablation(target.options_of(manifest.models[name]))


def open_decoder(
    package: Path,
    manifest: Manifest,
    name: str,
    precision: str = "float16",
    compute: str | None = None,
    corrected: bool = True,
) -> PackagedDecoder:
    """Opens the package's model for a target on this machine, see `Target.open`. UsageError for what the package does
    not have."""
    target = packaged_target(package, manifest, name)
    if not corrected and not has_ablation(manifest, name):
        raise UsageError(
            f"'{package}' has no {name} model without what is held out: convert with --target coreml --ablation."
        )
    path = target.model_path(package, manifest)
    return target.open(path, manifest.context, precision=precision, compute=compute, corrected=corrected)
