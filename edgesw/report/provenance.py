"""Where a package comes from and how it was made, in words."""

from __future__ import annotations

from typing import Any

from edgesw.package.manifest import Manifest
from edgesw.system.sizes import counted, format_size


def provenance(manifest: Manifest) -> dict[str, str]:
    """What a reader of the report may ask for, by its label."""
    source, settings = manifest.source, manifest.settings
    words = {"Model": f"{source.name} ({source.origin})"}
    if source.revision:
        words["Revision"] = source.revision
    words["Recipe"] = manifest.recipe or "none"
    if manifest.agreement:
        words["Recipe"] = manifest.agreement.summary().removeprefix("Recipe ")
    if settings.size is not None:
        words["Asked for"] = f"{format_size(settings.size)} of weights for each target"
    else:
        words["Asked for"] = f"{settings.bits:g} bits per weight in the layers"
    words["Embedding and head"] = f"{settings.embedding_bits} bits per weight"
    if settings.cluster_dim > 1:
        words["Palettes"] = f"up to {settings.cluster_dim} weights per entry"
    words["Activations"] = f"8 bits, {settings.activations}" if settings.activations else "not quantized"
    words["Held out"] = held_out(manifest)
    words["Context"] = counted(manifest.context, "token")
    for target, model in manifest.models.items():
        options = [f"{name} {in_words(value)}" for name, value in model.options.items() if not _is_nested(value)]
        if options:
            words[f"Options of {target}"] = ", ".join(options)
    read = manifest.calibration
    words["Calibration text"] = f"SHA-256 {read.text_sha256}" if read else "none"
    words["Error compensation"] = f"on {counted(read.windows, 'window')}" if read and read.windows else "none"
    words["Versions"] = ", ".join(f"{library} {version}" for library, version in manifest.versions.items())
    return words


def held_out(manifest: Manifest) -> str:
    """What is held out of the compressed matrices and how much it takes."""
    if not manifest.settings.hold_out:
        return "nothing (converted with --no-hold-out)"
    scalars, columns = len(manifest.super_weights), sum(map(len, manifest.held_out_columns.values()))
    parts = [counted(scalars, "super weight")] if scalars else []
    parts += [counted(columns, "whole column")] if columns else []
    if fraction := manifest.settings.hold_out_fraction:
        parts.append(f"{100 * fraction:g}% of the other scalars")
    if not parts:
        return "nothing (no super weights or outlier channels were found)"
    return f"{', '.join(parts)}: {format_size(manifest.correction_bytes)} in each model"


def in_words(value: Any) -> str:
    """A setting as a person would write it: `yes`, `any`, `1, 64`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(in_words, value)) or "any"
    return "not set" if value is None else str(value)


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, (list, tuple)) and any(map(_is_nested, value)))
