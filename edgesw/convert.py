"""The pipeline: find the super weights, plan, compress, write, publish."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgesw import __version__
from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.checkpoint.source import plain_name
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.plan import CompressionPlan, make_plan
from edgesw.errors import CheckpointError, EdgeswError, UsageError
from edgesw.outliers.calibrate import input_mean_squares
from edgesw.outliers.detect import PROMPT, detect
from edgesw.outliers.found import SuperOutliers
from edgesw.package import MANIFEST, Manifest, check_output, list_files, publish
from edgesw.report.card import model_card
from edgesw.targets import TARGETS
from edgesw.texts import shipped_text, windows
from edgesw.tokenizer import Tokenizer

Progress = Callable[[str, str, int, int], None]
"""Called with (stage, what is being done, steps done, steps in the stage)."""

DEFAULT_CONTEXT = 2048
CALIBRATION_WINDOWS, CALIBRATION_TOKENS = 8, 512
# Beside its weights a package holds the graph, the tokenizer and vectors: a few megabytes.
OTHER_BYTES = 8 << 20
LIBRARY_BYTES = 330 << 20


@dataclass(frozen=True)
class Settings:
    """What the user asked for. `context` 0: the model's own, at most 2048 tokens."""

    targets: tuple[str, ...]
    bits: int = 4
    scheme: str | None = None
    group_size: int | None = None
    context: int = 0
    hold_out: bool = True


@dataclass(frozen=True)
class Plans:
    """What a conversion will do, target by target, and what it needs."""

    spec: DecoderSpec
    context: int
    by_target: dict[str, CompressionPlan]

    @property
    def output_bytes(self) -> int:
        return sum(plan.stored_bytes for plan in self.by_target.values()) + OTHER_BYTES

    @property
    def memory_bytes(self) -> int:
        """Peak memory, estimated: the libraries, and the larger of two stages. Calibration holds the residual stream
        and the MLP of its windows in float32; compression holds the largest matrix in float32, its codes and its
        packed bytes. Factors measured on SmolLM2-135M (`benchmarks/conversion.py`)."""
        tokens = CALIBRATION_WINDOWS * CALIBRATION_TOKENS
        activations = 4 * tokens * (3 * self.spec.hidden_size + 4 * self.spec.intermediate_size)
        largest = max(plan.largest for plan in self.by_target.values())
        return LIBRARY_BYTES + max(activations, 15 * largest // 2)


def make_plans(spec: DecoderSpec, settings: Settings) -> Plans:
    """Plan each target. Raises UsageError for settings that a target or the model cannot have."""
    context = settings.context or min(spec.max_positions, DEFAULT_CONTEXT)
    if not 1 <= context <= spec.max_positions:
        raise UsageError(f"--context {context} is out of range: this model has 1 to {spec.max_positions} positions.")
    plans = {}
    for name in settings.targets:
        try:
            can = TARGETS[name].capabilities
            plans[name] = make_plan(spec, can, settings.bits, settings.scheme, settings.group_size)
        except UsageError as error:
            raise UsageError(f"--target {name}: {error}") from error
    return Plans(spec, context, plans)


def find_outliers(checkpoint: Checkpoint, tokenizer: Tokenizer, progress: Progress) -> SuperOutliers:
    """Detection on the paper's prompt."""
    ids = np.array(tokenizer.encode(PROMPT, bos=False))
    _check_ids(ids, checkpoint)
    layers = checkpoint.spec.layers
    return detect(
        checkpoint.spec,
        checkpoint,
        ids,
        lambda stage, layer: progress("Finding super weights", f"{stage}, layer {layer}", layer, layers),
    )


def convert(checkpoint: Checkpoint, settings: Settings, output: Path, *, force: bool, progress: Progress) -> Manifest:
    """Convert and publish the package at `output`.

    Raises UsageError for what cannot be asked for (before anything is read), EdgeswError when there is no room.
    """
    spec = checkpoint.spec
    plans = make_plans(spec, settings)
    check_output(output, force)
    _check_room(output, plans)
    with publish(output, force) as folder:
        tokenizer_files = checkpoint.tokenizer_files()
        for name, content in tokenizer_files.items():
            (folder / name).write_bytes(content)
        tokenizer = Tokenizer.from_files(tokenizer_files, str(checkpoint.source.path))
        outliers = find_outliers(checkpoint, tokenizer, progress) if settings.hold_out else SuperOutliers((), ())
        text = shipped_text("calibration")
        tokens = min(CALIBRATION_TOKENS, spec.max_positions)
        ids = windows(text, tokenizer, CALIBRATION_WINDOWS, tokens)
        _check_ids(ids, checkpoint)
        importance = input_mean_squares(
            spec,
            checkpoint,
            ids,
            lambda layer: progress("Calibrating", f"layer {layer}", layer, spec.layers),
        )
        coordinates = [weight.coordinates for weight in outliers.super_weights]
        for name, plan in plans.by_target.items():
            target = TARGETS[name]
            watch = _MatrixProgress(progress, f"Writing {target.title}", len(plan.matrices))
            compressed = CompressedDecoder(checkpoint, plan, importance, coordinates, watch)
            target.write(compressed, spec, plans.context, _plain_name(checkpoint), folder / target.file, 0.0)
        manifest = _manifest(checkpoint, settings, plans, outliers, text.sha256)
        (folder / "README.md").write_text(model_card(checkpoint, manifest, plans.by_target), encoding="utf-8")
        progress("Checksums", "", 0, 1)
        manifest = _manifest(checkpoint, settings, plans, outliers, text.sha256, list_files(folder))
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        progress("Checksums", "", 1, 1)
    return manifest


class _MatrixProgress:
    """Counts the matrices of one target."""

    def __init__(self, progress: Progress, stage: str, total: int) -> None:
        self._progress, self._stage, self._total, self._done = progress, stage, total, 0

    def __call__(self, name: str) -> None:
        self._progress(self._stage, name, self._done, self._total)
        self._done += 1


def _check_ids(ids: np.ndarray, checkpoint: Checkpoint) -> None:
    """A tokenizer may know more tokens than the model has, as long as they do not occur in text."""
    if ids.max(initial=0) >= checkpoint.spec.vocab_size:
        raise CheckpointError(
            f"{checkpoint.source.path}: the tokenizer gives token {ids.max()} and the model has "
            f"{checkpoint.spec.vocab_size}: they do not belong together."
        )


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
    checkpoint: Checkpoint,
    settings: Settings,
    plans: Plans,
    outliers: SuperOutliers,
    calibration: str,
    files: dict[str, dict[str, Any]] | None = None,
) -> Manifest:
    source = checkpoint.source
    held_out = tuple(
        {"layer": w.layer, "row": w.row, "column": w.column, "value": w.value} for w in outliers.super_weights
    )
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
        held_out=held_out,
        calibration=calibration,
        files=files or {},
    )
