"""The pipeline: find the super weights, calibrate, compress and write each target, publish."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from edgesw import __version__
from edgesw.calibration.calibrate import Calibration, calibrate, calibration_text
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.checkpoint.content_index import content_of
from edgesw.checkpoint.source import plain_name
from edgesw.compress.compensated import StreamedDecoder
from edgesw.compress.compression import compile_kernels
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.matrix_store import MatrixStore, Policy
from edgesw.compress.parallel import MatrixWorkers, matrix_tasks
from edgesw.compress.plan import CompressionPlan, Schemes
from edgesw.conversion.hold_out import SuperWeights, find_super_weights
from edgesw.conversion.model_card import model_card
from edgesw.conversion.plans import Plans, make_plans
from edgesw.conversion.product_type import with_products
from edgesw.conversion.settings import Settings
from edgesw.conversion.verify import Checked, Written, check_models
from edgesw.errors import CheckpointError, EdgeswError
from edgesw.files.checksums import file_times
from edgesw.files.writable import nearest_folder
from edgesw.formats.activation_quantization import SHARED_RANGES, STATIC, ActivationQuantization, static_bounds
from edgesw.formats.write_options import WriteOptions
from edgesw.package.manifest import (
    MANIFEST,
    Manifest,
    PackagedCalibration,
    PackagedModel,
    PackagedSuperWeight,
    PackagedTokenizer,
    PackageSettings,
    PackageSource,
)
from edgesw.package.publish import KEPT, check_output, list_files, publish
from edgesw.progress import Progress, StepProgress
from edgesw.runtime.products import product_dtype
from edgesw.system.machine import free_disk
from edgesw.system.sizes import format_size
from edgesw.system.workers import worker_processes
from edgesw.targets.registry import TARGETS
from edgesw.text.chat_format import ChatFormat
from edgesw.text.texts import Text
from edgesw.text.tokenizer import Tokenizer

# What decides the bytes of compressed matrices: an interrupted conversion resumes only with the same of these.
_COMPUTED_BY = ("edgesw", "numpy", "torch", "numba", "tokenizers", "transformers")
# Settings that change no matrix.
_NOT_IN_KEY = dict.fromkeys(("workers", "targets", "options"))


def convert(
    model: str | Checkpoint,
    settings: Settings,
    output: Path,
    *,
    revision: str | None = None,
    force: bool = False,
    progress: Progress = lambda *_: None,
    decided: Callable[[Plans], None] = lambda plans: None,
) -> Manifest:
    """Converts a model, by its name or opened, and publishes the package at `output`. Returns its manifest.

    `decided` is called once widths that had to be measured are known, before anything is compressed.

    Raises UsageError for what cannot be asked for, as far as possible before a model is fetched, and EdgeswError when
    the disk is too small.
    """
    text = calibration_text(settings.calibration)
    check_output(output, force)  # publish() checks again, after a model that may have taken an hour to fetch
    checkpoint = model if isinstance(model, Checkpoint) else open_checkpoint(model, revision)
    plans = make_plans(checkpoint.spec, settings)
    free = _check_disk(output, plans)
    source = checkpoint.source.path
    read = file_times(source)
    progress("Reading", "the model's content", 0, 1)
    content = functools.cache(lambda: content_of(source))
    with publish(output, force, lambda: _key(checkpoint, content(), settings, text)) as folder:
        tokenizer = _write_tokenizer(checkpoint, folder)
        chat_format = tokenizer.chat_format()
        super_weights, hold_out = SuperWeights({}), HoldOut()
        if settings.hold_out:
            super_weights = find_super_weights(checkpoint, tokenizer, progress)
        calibration = calibrate(checkpoint, tokenizer, text, progress, effort=settings.effort, gradients=plans.mixed)
        calibration = with_products(checkpoint, calibration)
        if settings.hold_out:
            extremes = calibration.extremes if settings.activations in SHARED_RANGES else {}
            hold_out = super_weights.hold_out(calibration.mean_squares, extremes, settings.hold_out_fraction)
        progress("Compiling the searches", "once on this machine", 0, 1)
        compile_kernels(plans.schemes, calibration.ids is not None)
        if plans.mixed:
            plans = plans.measured(checkpoint, calibration, hold_out, progress)
            decided(plans)
        policy = Policy.KEEP if free > plans.output_bytes + plans.cache_bytes else Policy.TAKE
        residual_max = max(super_weights.residual_max, calibration.residual_max)
        common = WriteOptions(
            plans.context,
            _plain_name(checkpoint),
            residual_max,
            bos_id=tokenizer.bos_id,
            stop_ids=tokenizer.eos_ids,
            activations=_activations(settings.activations, calibration, hold_out),
        )
        written = _write_targets(checkpoint, common, plans, calibration, hold_out, folder, progress, policy)
        if file_times(source) != read:
            raise CheckpointError(
                f"'{checkpoint.source.name}' was changed while it was being converted: convert again."
            )
        manifest = _manifest(
            checkpoint, content(), plans, super_weights, hold_out, calibration, written, tokenizer, chat_format
        )
        manifest = _with_checks(manifest, check_models(folder, manifest, plans, written, tokenizer, progress))
        shutil.rmtree(folder / KEPT)
        (folder / "README.md").write_text(model_card(checkpoint, manifest, plans.compressions), encoding="utf-8")
        progress("Checksums", "", 0, 1)
        manifest = replace(manifest, files=list_files(folder))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        progress("Checksums", "", 1, 1)
    return manifest


def _write_targets(
    checkpoint: Checkpoint,
    common: WriteOptions,
    plans: Plans,
    calibration: Calibration,
    hold_out: HoldOut,
    folder: Path,
    progress: Progress,
    policy: Policy,
) -> dict[str, Written]:
    """Compresses and writes the targets one after the other; returns what was written of each. Those of the same plan
    share their compressed matrices; by `policy` these are kept for the next run too."""
    stores: dict[Schemes, MatrixStore] = {}
    written: dict[str, Written] = {}
    workers = plans.settings.workers  # never with error compensation: the plans refuse that
    with worker_processes(workers) if workers > 1 else contextlib.nullcontext() as executor:
        for name, plan in plans.compressions.items():
            if plan.schemes not in stores:
                cache = folder / KEPT / hashlib.sha256(repr(plan.schemes).encode()).hexdigest()[:16]
                cache.mkdir(exist_ok=True)
                store = MatrixStore(cache, Policy.KEEP if _shared(plans, plan) else policy)
                if executor is not None:
                    mean_squares = calibration.mean_squares
                    tasks = matrix_tasks(checkpoint.source.path, plan, mean_squares, hold_out, cache, workers)
                    store = replace(store, fill=MatrixWorkers(executor, workers, tasks).finish)
                stores[plan.schemes] = store
            target, options = TARGETS[name], plans.targets[name].options
            watch = StepProgress(progress, f"Writing {target.title}", len(plan.matrices))
            decoder = compressed_decoder(checkpoint, plan, calibration, hold_out, stores[plan.schemes], watch)
            before = _files(folder)
            target.write(decoder, checkpoint.spec, options, common, folder / target.path(options))
            # Another decoder: this one holds the residual streams of the last layer.
            store = stores[plan.schemes]
            again = compressed_decoder(checkpoint, plan, calibration, hold_out, store)
            written[name] = Written(tuple(sorted(_files(folder) - before)), again, store.policy is Policy.KEEP)
    return written


def _shared(plans: Plans, plan: CompressionPlan) -> bool:
    """Whether several targets have the matrices of this plan."""
    return [other.schemes for other in plans.compressions.values()].count(plan.schemes) > 1


def _files(folder: Path) -> set[str]:
    """The files in the package so far, without cached matrices."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if path.parts[0] != KEPT}


def _activations(granularity: str | None, calibration: Calibration, hold_out: HoldOut) -> ActivationQuantization | None:
    if granularity is None:
        return None
    bounds = static_bounds(calibration.extremes, hold_out.columns) if granularity == STATIC else {}
    return ActivationQuantization(granularity, bounds)


def compressed_decoder(
    checkpoint: Checkpoint,
    plan: CompressionPlan,
    calibration: Calibration,
    hold_out: HoldOut,
    store: MatrixStore | None = None,
    on_matrix: Callable[[str], None] = lambda name: None,
) -> CompressedDecoder:
    """The decoder's matrices, with error compensation where the calibration has windows for that."""
    if calibration.ids is None:
        return CompressedDecoder(checkpoint, plan, calibration.mean_squares, hold_out, store, on_matrix)
    return StreamedDecoder(
        checkpoint.spec, checkpoint, plan, calibration.ids, hold_out, store, on_matrix, calibration.products,
        calibration.mean_squares,
    )  # fmt: skip


def _write_tokenizer(checkpoint: Checkpoint, folder: Path) -> Tokenizer:
    files = checkpoint.tokenizer_files()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return Tokenizer.from_files(files, str(checkpoint.source.path))


def _key(checkpoint: Checkpoint, content: str, settings: Settings, text: Text | None) -> str:
    """The same for conversions whose matrices are the same: by the model's content, what was asked for, and what
    computes it."""
    libraries = {name: importlib.metadata.version(name) for name in _COMPUTED_BY}
    asked = {**asdict(settings), **_NOT_IN_KEY}
    recipe = repr(checkpoint.source.recipe)
    parts = (content, asked, text.sha256 if text else None, libraries, recipe, str(product_dtype()))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _check_disk(output: Path, plans: Plans) -> int:
    """The bytes that are free where the package is to be. EdgeswError where it does not fit."""
    folder = nearest_folder(output.absolute().parent)
    free = free_disk(folder)
    if free < plans.output_bytes:
        raise EdgeswError(
            f"not enough disk space: the package takes about {format_size(plans.output_bytes)} and "
            f"'{folder}' has {format_size(free)} free. Choose another -o, or fewer --bits."
        )
    return free


def _plain_name(checkpoint: Checkpoint) -> str:
    """The model's name without the path it was read from."""
    return checkpoint.source.hub_id or plain_name(checkpoint.source.name)


def _by_scheme(plan: CompressionPlan) -> dict[str, list[str]]:
    """Scheme in words -> the names of its matrices."""
    schemes = dict.fromkeys(matrix.scheme_text for matrix in plan.matrices)
    return {scheme: [m.name for m in plan.matrices if m.scheme_text == scheme] for scheme in schemes}


def _manifest(
    checkpoint: Checkpoint,
    content: str,
    plans: Plans,
    super_weights: SuperWeights,
    hold_out: HoldOut,
    calibration: Calibration,
    written: dict[str, Written],
    tokenizer: Tokenizer,
    chat_format: ChatFormat | None,
) -> Manifest:
    """The manifest, without the checksums of the package's files, and before the models are checked."""
    source, settings = checkpoint.source, plans.settings
    libraries = ("coremltools", "onnx", "numpy", "torch")
    models = {
        name: PackagedModel(
            path=TARGETS[name].path(plan.options),
            files=written[name].files,
            scheme=plan.compression.summary,
            stored_bits=round(plan.compression.stored_bits, 3),
            matrices=_by_scheme(plan.compression),
            options=TARGETS[name].options_to_dict(plan.options),
            checked="structure",
        )
        for name, plan in plans.targets.items()
    }
    return Manifest(
        source=PackageSource(
            plain_name(source.name) if source.is_local else source.name, source.origin, source.revision, content
        ),
        recipe=source.recipe.name if source.recipe else None,
        settings=PackageSettings(
            bits=settings.code_bits if settings.size is None else None,
            size=settings.size,
            embedding_bits=settings.embedding_bits,
            cluster_dim=settings.cluster_dim,
            context=plans.context,
            activations=settings.activations,
            hold_out=settings.hold_out,
            hold_out_fraction=settings.hold_out_fraction,
            effort=settings.effort,
        ),
        versions={"edgesw": __version__, **{name: importlib.metadata.version(name) for name in libraries}},
        decoder=checkpoint.spec,
        models=models,
        super_weights=tuple(PackagedSuperWeight(*place, value) for place, value in super_weights.values.items()),
        calibration=_packaged(calibration),
        files={},
        agreement=super_weights.agreement,
        held_out_columns={name: list(columns) for name, columns in hold_out.columns.items()},
        correction_bytes=next(iter(plans.compressions.values())).correction_bytes(hold_out),
        tokenizer=PackagedTokenizer(tokenizer.prefix_ids, tokenizer.suffix_ids, tokenizer.eos_ids),
        chat_format=chat_format,
    )


def _packaged(calibration: Calibration) -> PackagedCalibration | None:
    if calibration.text_sha256 is None:
        return None
    windows = 0 if calibration.ids is None else len(calibration.ids)
    return PackagedCalibration(calibration.text_sha256, windows, str(calibration.products).removeprefix("torch."))


def _with_checks(manifest: Manifest, checked: dict[str, Checked]) -> Manifest:
    models = {name: replace(model, checked=checked[name]) for name, model in manifest.models.items()}
    return replace(manifest, models=models)
