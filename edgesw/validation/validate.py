"""Validation: a package on its runtimes against the float model it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.errors import PackageError, UsageError
from edgesw.package.manifest import Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.progress import Progress
from edgesw.runtime.arm_machine import is_native, this_machine
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.registry import TARGETS, has_ablation, open_decoder, packaged_target
from edgesw.text.texts import Text, windows_by_kind
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.advice import advise
from edgesw.validation.examine import SUSPECT, Examination, examine
from edgesw.validation.float_cache import float_logits
from edgesw.validation.float_model import float_model
from edgesw.validation.long_context import long_context
from edgesw.validation.matrices import matrix_errors
from edgesw.validation.measure import Agreement, measure
from edgesw.validation.samples import PROMPTS, samples
from edgesw.validation.task_set import TaskSet
from edgesw.validation.tasks import run_tasks
from edgesw.validation.validation_report import ValidationReport
from edgesw.validation.verdict import Limits

# Windows of one text, or of each kind of several.
WINDOWS, WINDOWS_OF_KIND, TOKENS = 8, 2, 512
SAMPLE_TOKENS = 24


def validate(
    package: Path,
    texts: Sequence[Text],
    *,
    against: str | None,
    progress: Progress,
    targets: tuple[str, ...] = (),
    count: int | None = None,
    tokens: int = TOKENS,
    limits: Limits = Limits(),  # noqa: B008 - it is frozen
    precision: str = "float16",
    compute: str | None = None,
    cpus: tuple[str, ...] = (),
    details: bool = False,
    other_model: bool = False,
    long: bool = False,
    tasks: TaskSet | None = None,
) -> ValidationReport:
    """Measures `targets` (default: all in the package) over `count` windows of `tokens` tokens of each text, against
    the float model `against`, by default the one the package was made from; see `float_model` for `other_model`.

    `compute` are the compute units for Core ML on a Mac, None for the ones the package is built for. Targets that can
    also run on each of the ARM processors `cpus` (see `edgesw.runtime.arm_machine`). `details` adds samples of text and
    the error of each matrix: some more passes of the float model, over few tokens. `long` also reads the texts to the
    end of the package's context, and `tasks` are asked. A target that fails gets advice.
    """
    manifest = read_manifest(package)
    check_files(package, manifest, contents=True)
    checkpoint = float_model(package, manifest, against, other_model)
    names = targets or tuple(manifest.models)
    tokens = min(tokens, manifest.context)
    tokenizer = Tokenizer.from_folder(package, PackageError)
    if tokenizer.prefix_ids != manifest.tokenizer.prefix_ids:
        raise PackageError(
            f"{package}: its tokenizer puts {list(tokenizer.prefix_ids)} before a text, and the float model's "
            f"{list(manifest.tokenizer.prefix_ids)}: convert again."
        )
    count = count or (WINDOWS_OF_KIND if len(texts) > 1 else WINDOWS)
    ids, kinds = windows_by_kind(texts, tokenizer, count, tokens)
    name, error = texts[0].name, PackageError if texts[0].shipped else UsageError
    check_ids(ids, manifest.decoder.vocab_size, tokenizer, name, error)
    if details or tasks is not None:
        tokenizer.decode(ids[0].tolist())  # a tokenizer that cannot is found before the long work, not after it
    decoders: list[PackagedDecoder] = []
    for name in names:
        progress("Loading", name, len(decoders), len(names))
        decoders.append(open_decoder(package, manifest, name, precision, compute))
    for cpu in cpus[:1] if is_native() else cpus:  # an ARM machine is one processor, whatever is asked for
        for name in _arm_targets(package, manifest):
            path = TARGETS[name].model_path(package, manifest)
            decoders.append(TARGETS[name].open_on_arm(path, manifest.context, cpu, progress))
            names = (*names, f"{name}, {this_machine().name if is_native() else cpu}")
    bare = [name for name in names if name in manifest.models and has_ablation(manifest, name)]
    without = [open_decoder(package, manifest, name, precision, compute, corrected=False) for name in bare]
    layers = checkpoint.spec.layers
    reference = float_logits(checkpoint, ids, lambda layer: progress("Float model", f"layer {layer}", layer, layers))
    progress("Measuring", "", 0, ids.size - len(ids))
    results: list[Agreement] = []
    for so_far in measure(ids, reference, [*decoders, *without], kinds):
        results = so_far
        progress("Measuring", "", results[0].positions, ids.size - len(ids))
    found = dict(zip(names, results[: len(names)], strict=True))
    uncorrected = dict(zip(bare, results[len(names) :], strict=True))
    sizes = {name: manifest.model_bytes(name) for name in names if name in manifest.models}
    report = ValidationReport(
        texts[0].name, ids.shape[0], ids.shape[1], limits, found, len(tokenizer.prefix_ids), sizes,
        uncorrected=uncorrected,
    )  # fmt: skip
    own = {name: decoder for name, decoder in zip(names, decoders, strict=True) if name in manifest.models}
    if long:
        progress("Long context", "", 0, layers)
        read = long_context(
            checkpoint, tokenizer, texts, own, manifest.context,
            lambda layer: progress("Long context", f"layer {layer}", layer, layers),
        )  # fmt: skip
        report = replace(report, long=read)
    if tasks is not None:
        report = replace(report, tasks=run_tasks(checkpoint, tokenizer, own, tasks, progress))
    if details:
        report = _with_details(report, package, manifest, checkpoint, tokenizer, ids, own, progress)
    return _examined(report, package, manifest, checkpoint, ids, kinds, own, progress)


def _examined(
    report: ValidationReport,
    package: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    ids: np.ndarray,
    kinds: Sequence[str],
    decoders: dict[str, PackagedDecoder],
    progress: Progress,
) -> ValidationReport:
    """The report with an examination of each target that is suspicious, and advice for each that fails, both on the
    first window of the kind that it is furthest off on."""
    examined, advice, layers = dict[str, Examination](), dict[str, tuple[str, ...]](), checkpoint.spec.layers
    for name, decoder in decoders.items():
        parts = report.targets[name].kinds or {"": report.targets[name]}
        kind = max(parts, key=lambda each: parts[each].kl_divergence)
        if parts[kind].kl_divergence <= SUSPECT and report.verdict(name).passed:
            continue
        window = ids[kinds.index(kind)]
        examined[name] = examine(
            name, packaged_target(package, manifest, name).matrices(package, manifest), checkpoint, window, decoder,
            manifest.settings.activations is not None,
            lambda layer: progress("Examining", f"layer {layer}", layer, layers),
        )  # fmt: skip
        report = replace(report, examined=examined)
        if not report.verdict(name).passed:
            advice[name] = advise(manifest, name, checkpoint, window, examined[name])
    return replace(report, advice=advice)


def _arm_targets(package: Path, manifest: Manifest) -> list[str]:
    """The package's targets whose models run on emulated ARM processors. UsageError where it has none."""
    able = [name for name, target in TARGETS.items() if target.runs_on_arm]
    found = [name for name in able if name in manifest.models]
    if not found:
        packaged_target(package, manifest, able[0])
    return found


def _with_details(
    report: ValidationReport,
    package: Path,
    manifest: Manifest,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    ids: np.ndarray,
    decoders: dict[str, PackagedDecoder],
    progress: Progress,
) -> ValidationReport:
    spec = checkpoint.spec
    progress("Writing samples", "", 0, SAMPLE_TOKENS * len(PROMPTS))
    written = samples(
        spec, checkpoint, tokenizer, decoders, SAMPLE_TOKENS,
        lambda done: progress("Writing samples", "", done, SAMPLE_TOKENS * len(PROMPTS)),
    )  # fmt: skip
    stored = {name: packaged_target(package, manifest, name).matrices(package, manifest) for name in decoders}
    errors = matrix_errors(
        spec, checkpoint, ids[:1], stored, lambda layer: progress("Matrices", f"layer {layer}", layer, spec.layers)
    )
    return replace(report, samples=written, matrices=errors)
