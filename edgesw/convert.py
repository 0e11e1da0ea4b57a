"""The pipeline: find the super weights, calibrate, compress and write each target, publish."""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgesw import __version__
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.source import plain_name
from edgesw.checkpoint.spec import Coordinates
from edgesw.compress import palette
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan
from edgesw.errors import EdgeswError
from edgesw.outliers.agreement import RecipeAgreement, compare
from edgesw.outliers.calibrate import Calibration, calibrate
from edgesw.outliers.columns import columns_of, joined, spiking_columns
from edgesw.outliers.find import find_outliers
from edgesw.package import MANIFEST, Manifest, check_output, list_files, publish
from edgesw.plans import Plans, Settings, make_plans
from edgesw.progress import Progress, StepProgress
from edgesw.report.card import model_card
from edgesw.targets import TARGETS
from edgesw.tokenizer import Tokenizer


@dataclass(frozen=True)
class HeldOut:
    """The scalars and columns to hold out, and how the recipe's scalars agree with those that were detected."""

    values: dict[Coordinates, float]
    columns: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """By matrix name. Those of the scalars, as a whole column takes no more room, and those whose input spikes."""
    agreement: RecipeAgreement | None = None
    """None where the model has no recipe that names super weights, or nothing is held out."""
    residual_max: float = 0.0
    """The largest magnitude that detection saw in the residual stream."""


def convert(checkpoint: Checkpoint, settings: Settings, output: Path, *, force: bool, progress: Progress) -> Manifest:
    """Convert and publish the package at `output`. The manifest says how detection agrees with the model's recipe.

    Raises UsageError for what cannot be asked for (before anything is read), EdgeswError when there is no room.
    """
    plans = make_plans(checkpoint.spec, settings)
    check_output(output, force)
    _check_room(output, plans)
    with publish(output, force) as folder:
        tokenizer = _write_tokenizer(checkpoint, folder)
        held_out = _find_held_out(checkpoint, tokenizer, progress) if settings.hold_out else HeldOut({})
        calibration = calibrate(checkpoint, tokenizer, progress)
        if settings.hold_out:
            columns = joined(columns_of(held_out.values), spiking_columns(calibration.mean_squares))
            held_out = replace(held_out, columns=columns)
        if any(matrix.scheme.kind == "palette" for plan in plans.by_target.values() for matrix in plan.matrices):
            progress("Compiling the palette search", "once on this machine", 0, 1)
            palette.prepare()
        for name, plan in plans.by_target.items():
            target = TARGETS[name]
            watch = StepProgress(progress, f"Writing {target.title}", len(plan.matrices))
            compressed = CompressedDecoder(
                checkpoint, plan, calibration.mean_squares, held_out.values, watch, held_out.columns
            )
            path, largest = folder / target.file, max(held_out.residual_max, calibration.residual_max)
            target.write(compressed, checkpoint.spec, plans.context, _plain_name(checkpoint), path, largest)
        manifest = _manifest(checkpoint, settings, plans, held_out, calibration)
        (folder / "README.md").write_text(model_card(checkpoint, manifest, plans.by_target), encoding="utf-8")
        progress("Checksums", "", 0, 1)
        manifest = replace(manifest, files=list_files(folder))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        progress("Checksums", "", 1, 1)
    return manifest


def _write_tokenizer(checkpoint: Checkpoint, folder: Path) -> Tokenizer:
    files = checkpoint.tokenizer_files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Tokenizer.from_files(files, str(checkpoint.source.path))


def _find_held_out(checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress) -> HeldOut:
    """What detection finds, and what only the recipe knows: a scalar too many costs a few bytes, one too few may cost
    the model. What a recipe calls disputed counts only if it is detected."""
    outliers = find_outliers(checkpoint, tokenizer, progress)
    values = {weight.coordinates: weight.value for weight in outliers.super_weights}
    agreement = compare(checkpoint.source.recipe, outliers, checkpoint.spec)
    for layer, row, column in agreement.only_recipe if agreement else ():
        values[layer, row, column] = float(checkpoint.tensor(f"layers.{layer}.down_proj")[row, column])
    return HeldOut(values, {}, agreement, max(peak.residual for peak in outliers.peaks))


def _check_room(output: Path, plans: Plans) -> None:
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < plans.output_bytes:
        raise EdgeswError(
            f"no room for the package: it takes about {plans.output_bytes / 1e6:,.0f} MB and '{folder}' has "
            f"{free / 1e6:,.0f} MB free. Choose another -o, or fewer --bits."
        )


def _plain_name(checkpoint: Checkpoint) -> str:
    """The model's name without the path it was read from."""
    return checkpoint.source.hub_id or plain_name(checkpoint.source.name)


def _schemes(plan: CompressionPlan) -> str:
    """The schemes of the layers' matrices, in words; embedding and head go by their own."""
    return " and ".join(dict.fromkeys(str(matrix.scheme) for matrix in plan.matrices if "." in matrix.name))


def _manifest(
    checkpoint: Checkpoint, settings: Settings, plans: Plans, held_out: HeldOut, calibration: Calibration
) -> Manifest:
    """The manifest, but for its list of files."""
    source = checkpoint.source
    libraries = ("coremltools", "onnx", "numpy", "torch")
    return Manifest(
        source={
            "name": plain_name(source.name) if source.is_local else source.name,
            "origin": source.origin,
            "revision": source.revision,
        },
        recipe=source.recipe.name if source.recipe else None,
        settings={
            "bits": settings.bits,
            "schemes": {name: _schemes(plan) for name, plan in plans.by_target.items()},
            "context": plans.context,
            "hold_out": settings.hold_out,
        },
        versions={"edgesw": __version__, **{name: importlib.metadata.version(name) for name in libraries}},
        decoder=checkpoint.spec,
        models={name: TARGETS[name].file for name in plans.by_target},
        held_out=tuple(
            {"layer": layer, "row": row, "column": column, "value": value}
            for (layer, row, column), value in held_out.values.items()
        ),
        calibration=calibration.text_sha256,
        files={},
        agreement=held_out.agreement.to_dict() if held_out.agreement else None,
        held_out_columns={name: list(columns) for name, columns in held_out.columns.items()},
        correction_bytes=next(iter(plans.by_target.values())).correction_bytes(held_out.columns),
    )
