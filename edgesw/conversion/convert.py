"""The pipeline: find the super weights, calibrate, compress and write each target, publish."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from edgesw import __version__
from edgesw.calibration.calibrate import Calibration, calibrate, calibration_text
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.source import plain_name
from edgesw.compress.compensated import StreamedDecoder
from edgesw.compress.decoder import CompressedDecoder, prepare
from edgesw.compress.matrix_store import KeptMatrices
from edgesw.compress.parallel import AheadMatrices
from edgesw.compress.plan import CompressionPlan, Schemes
from edgesw.conversion.hold_out import HeldOut, find_held_out
from edgesw.conversion.model_card import model_card
from edgesw.conversion.plans import Plans, Settings, make_plans
from edgesw.errors import CheckpointError, EdgeswError
from edgesw.files.checksums import content_hash, file_times
from edgesw.formats.activation_quantization import ActivationQuantization, static_bounds
from edgesw.formats.write_options import WriteOptions
from edgesw.package.package import KEPT, MANIFEST, Manifest, check_output, list_files, publish
from edgesw.progress import Progress, StepProgress
from edgesw.system.sizes import format_size
from edgesw.system.workers import worker_processes
from edgesw.targets.targets import TARGETS
from edgesw.text.texts import Text
from edgesw.text.tokenizer import Tokenizer


def convert(
    checkpoint: Checkpoint,
    settings: Settings,
    output: Path,
    *,
    force: bool,
    progress: Progress,
    decided: Callable[[Plans], None] = lambda plans: None,
) -> Manifest:
    """Convert and publish the package at `output`. The manifest says how detection agrees with the model's recipe.
    `decided` is called once widths that had to be measured are known, before anything is compressed.

    Raises UsageError for what cannot be asked for (before anything is read), EdgeswError when there is no room.
    """
    plans = make_plans(checkpoint.spec, settings)
    text = calibration_text(settings.calibration)
    check_output(output, force)
    room = _check_room(output, plans)
    source = checkpoint.source.path
    read = file_times(source)
    progress("Reading", "what the model is", 0, 1)
    with publish(output, force, _key(checkpoint, settings, text)) as folder:
        tokenizer = _write_tokenizer(checkpoint, folder)
        chat = tokenizer.chat_format()
        held_out = HeldOut({})
        if settings.hold_out:
            held_out = find_held_out(checkpoint, tokenizer, progress, settings.hold_out_fraction)
        calibration = calibrate(checkpoint, tokenizer, text, progress, gradients=plans.mixed)
        if settings.hold_out:
            wide = calibration.extremes if settings.ranges in ("tensor", "static") else {}
            held_out = held_out.with_columns(calibration.mean_squares, wide)
        progress("Compiling the searches", "once on this machine", 0, 1)
        prepare(plans.schemes, calibration.ids is not None)
        if plans.mixed:
            plans = plans.measured(checkpoint, calibration, held_out, progress)
            decided(plans)
        again = room > plans.output_bytes + plans.kept_bytes
        _write_targets(checkpoint, tokenizer, plans, calibration, held_out, folder, progress, again)
        if file_times(source) != read:
            raise CheckpointError(
                f"'{checkpoint.source.name}' was changed while it was being converted: convert again."
            )
        shutil.rmtree(folder / KEPT)
        manifest = _manifest(checkpoint, settings, plans, held_out, calibration)
        manifest = replace(manifest, chat=chat)
        (folder / "README.md").write_text(model_card(checkpoint, manifest, plans.by_target), encoding="utf-8")
        progress("Checksums", "", 0, 1)
        manifest = replace(manifest, files=list_files(folder))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        progress("Checksums", "", 1, 1)
    return manifest


def _write_targets(
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    plans: Plans,
    calibration: Calibration,
    held_out: HeldOut,
    folder: Path,
    progress: Progress,
    again: bool,
) -> None:
    """Compress and write the targets one after the other. Those of the same plan share their compressed matrices, which
    are kept for the next try too if `again`."""
    largest = max(held_out.residual_max, calibration.residual_max)
    packaging = WriteOptions(
        plans.context,
        _plain_name(checkpoint),
        largest,
        plans.form,
        tokenizer.bos_id,
        tokenizer.eos_ids,
        plans.settings.portable,
        _rounding(plans.settings.ranges, calibration, held_out),
    )
    decoders: dict[Schemes, CompressedDecoder] = {}
    with contextlib.ExitStack() as stack:
        # Matrices that make up for each other's errors are compressed one after the other, in this process.
        workers = plans.settings.workers
        apart = workers > 1 and calibration.ids is None
        executor = stack.enter_context(worker_processes(workers)) if apart else None
        for name, plan in plans.by_target.items():
            if plan.schemes not in decoders:
                decoder = compressed_decoder(checkpoint, plan, calibration, held_out)
                shared = [other.schemes for other in plans.by_target.values()].count(plan.schemes) > 1
                own = folder / KEPT / hashlib.sha256(repr(plan.schemes).encode()).hexdigest()[:16]
                own.mkdir(exist_ok=True)
                decoder.kept_in = own if again else None
                if executor is not None:
                    keep = shared or again
                    decoder = AheadMatrices(decoder, checkpoint.source.path, executor, workers, own, keep)
                elif shared:
                    decoder = KeptMatrices(decoder, own)
                decoders[plan.schemes] = decoder
            decoder, target = decoders[plan.schemes], TARGETS[name]
            decoder.progress = StepProgress(progress, f"Writing {target.title}", len(plan.matrices))
            target.write(decoder, checkpoint.spec, packaging, folder / target.path(plans.form))


def _rounding(ranges: str | None, calibration: Calibration, held_out: HeldOut) -> ActivationQuantization | None:
    if ranges is None:
        return None
    return ActivationQuantization(
        ranges, static_bounds(calibration.extremes, held_out.columns) if ranges == "static" else {}
    )


def compressed_decoder(
    checkpoint: Checkpoint, plan: CompressionPlan, calibration: Calibration, held_out: HeldOut
) -> CompressedDecoder:
    """Matrices that make up for each other's errors where the calibration has windows for that, else each by itself."""
    apart = held_out.values, held_out.columns, held_out.fraction
    if calibration.ids is None:
        return CompressedDecoder(checkpoint, plan, calibration.mean_squares, *apart)
    return StreamedDecoder(checkpoint.spec, checkpoint, plan, calibration.ids, *apart)


def _write_tokenizer(checkpoint: Checkpoint, folder: Path) -> Tokenizer:
    files = checkpoint.tokenizer_files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Tokenizer.from_files(files, str(checkpoint.source.path))


def _key(checkpoint: Checkpoint, settings: Settings, text: Text | None) -> str:
    """The same for conversions whose matrices are the same: by the model's content, what was asked for, and what
    computes it."""
    libraries = {name: importlib.metadata.version(name) for name in ("edgesw", "numpy", "torch", "numba")}
    asked = {**asdict(settings), "workers": None, "targets": None, "ablation": None}
    recipe = repr(checkpoint.source.recipe)
    parts = (content_hash(checkpoint.source.path), asked, text.sha256 if text else None, libraries, recipe)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _check_room(output: Path, plans: Plans) -> int:
    """Bytes that are free where the package is to be. EdgeswError when it does not fit."""
    folder = next(parent for parent in output.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < plans.output_bytes:
        raise EdgeswError(
            f"no room for the package: it takes about {format_size(plans.output_bytes)} and '{folder}' has "
            f"{format_size(free)} free. Choose another -o, or fewer --bits."
        )
    return free


def _plain_name(checkpoint: Checkpoint) -> str:
    """The model's name without the path it was read from."""
    return checkpoint.source.hub_id or plain_name(checkpoint.source.name)


def _by_scheme(plan: CompressionPlan) -> dict[str, list[str]]:
    """Scheme, in words -> the names of its matrices."""
    schemes = dict.fromkeys(matrix.words for matrix in plan.matrices)
    return {scheme: [m.name for m in plan.matrices if m.words == scheme] for scheme in schemes}


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
            "bits": settings.bits if settings.size is None else None,
            "size": settings.size,
            "embedding_bits": settings.embedding_bits,
            "cluster_dim": settings.cluster_dim,
            "schemes": {name: plan.summary for name, plan in plans.by_target.items()},
            "stored_bits": {name: round(plan.stored_bits, 3) for name, plan in plans.by_target.items()},
            "matrices": {name: _by_scheme(plan) for name, plan in plans.by_target.items()},
            "context": plans.context,
            "portable": settings.portable,
            "activation_ranges": settings.ranges,
            "hold_out": settings.hold_out,
            "hold_out_fraction": settings.hold_out_fraction,
            **({"form": asdict(plans.form)} if any(TARGETS[name].has_forms for name in plans.by_target) else {}),
        },
        versions={"edgesw": __version__, **{name: importlib.metadata.version(name) for name in libraries}},
        decoder=checkpoint.spec,
        models={name: TARGETS[name].path(plans.form) for name in plans.by_target},
        held_out=tuple(
            {"layer": layer, "row": row, "column": column, "value": value}
            for (layer, row, column), value in held_out.values.items()
        ),
        calibration=calibration.text_sha256,
        files={},
        agreement=held_out.agreement.to_dict() if held_out.agreement else None,
        held_out_columns={name: list(columns) for name, columns in held_out.columns.items()},
        correction_bytes=next(iter(plans.by_target.values())).correction_bytes(held_out.columns, held_out.fraction),
    )
