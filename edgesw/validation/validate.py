"""Validation: a package on its runtimes against the float model it was made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.checkpoint.checkpoint import Checkpoint
from edgesw.errors import PackageError, UsageError
from edgesw.package.manifest import Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.progress import Progress
from edgesw.runtime.arm_machine import is_native, this_machine
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.system.sizes import counted
from edgesw.targets.registry import TARGETS, has_ablation, open_decoder, packaged_target
from edgesw.text.texts import Text, windows
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.float_cache import float_logits
from edgesw.validation.float_model import float_model
from edgesw.validation.matrices import MatrixError, matrix_errors
from edgesw.validation.measure import Agreement, measure
from edgesw.validation.samples import PROMPTS, Sample, samples

WINDOWS, TOKENS, MOST_INCREASE = 8, 512, 0.2
SAMPLE_TOKENS = 24


@dataclass(frozen=True)
class ValidationReport:
    """What was measured, on what, and whether each target passes."""

    text: str
    windows: int
    tokens: int  # per window
    most_increase: float
    targets: dict[str, Agreement]
    prefix: int = 1
    """How many tokens the tokenizer puts before each window: BOS, or none. Windows do not overlap."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Size of each target's files."""
    samples: tuple[Sample, ...] = ()
    matrices: tuple[MatrixError, ...] = ()
    """The layers' matrices of each target in forward order; only with details."""
    uncorrected: dict[str, Agreement] = field(default_factory=dict)
    """The models of targets with an ablation, run without what is held out; no verdict depends on them."""

    @property
    def measured_on(self) -> str:
        """How much was read: `8 windows of 512 tokens, each starting with BOS`."""
        begins = "each starting with BOS" if self.prefix else "without BOS"
        return f"{counted(self.windows, 'window')} of {self.tokens} tokens, {begins}"

    @property
    def passed(self) -> bool:
        return all(result.passes(self.most_increase) for result in self.targets.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "windows": self.windows,
            "tokens_per_window": self.tokens,
            "stride": self.tokens - self.prefix,
            "bos": self.prefix > 0,
            "max_perplexity_increase": self.most_increase,
            "passed": self.passed,
            "targets": {
                name: {**result.to_dict(), "passed": result.passes(self.most_increase), "bytes": self.sizes.get(name)}
                for name, result in self.targets.items()
            },
            "uncorrected": {name: result.to_dict() for name, result in self.uncorrected.items()},
            "samples": [sample.to_dict() for sample in self.samples],
            "matrices": [matrix.to_dict() for matrix in self.matrices],
        }

    def worst(self, target: str, count: int = 5) -> list[MatrixError]:
        """The matrices of a target with the largest errors."""
        own = (matrix for matrix in self.matrices if matrix.target == target)
        return sorted(own, key=lambda matrix: -matrix.error)[:count]


def validate(
    package: Path,
    text: Text,
    *,
    against: str | None,
    progress: Progress,
    targets: tuple[str, ...] = (),
    count: int = WINDOWS,
    tokens: int = TOKENS,
    most_increase: float = MOST_INCREASE,
    precision: str = "float16",
    compute: str | None = None,
    cpus: tuple[str, ...] = (),
    details: bool = False,
    other_model: bool = False,
) -> ValidationReport:
    """Measures `targets` (default: all in the package) over `count` windows of `tokens` tokens, against the float model
    `against`, by default the one the package was made from; see `float_model` for `other_model`.

    `compute` are the compute units for Core ML on a Mac, None for the ones the package is built for. Targets that can
    also run on each of the ARM processors `cpus` (see `edgesw.runtime.arm_machine`). `details` adds samples of text and
    the error of each matrix: some more passes of the float model, over few tokens.
    """
    manifest = read_manifest(package)
    check_files(package, manifest, contents=True)
    checkpoint = float_model(package, manifest, against, other_model)
    names = targets or tuple(manifest.models)
    tokens = min(tokens, manifest.context)
    tokenizer = Tokenizer.from_folder(package, PackageError)
    ids = windows(text, tokenizer, count, tokens)
    check_ids(ids, manifest.decoder.vocab_size, tokenizer, text.name, PackageError if text.shipped else UsageError)
    if details:
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
    for so_far in measure(ids, reference, [*decoders, *without]):
        results = so_far
        progress("Measuring", "", results[0].positions, ids.size - len(ids))
    found = dict(zip(names, results[: len(names)], strict=True))
    uncorrected = dict(zip(bare, results[len(names) :], strict=True))
    sizes = {name: manifest.model_bytes(name) for name in names if name in manifest.models}
    report = ValidationReport(
        text.name, ids.shape[0], ids.shape[1], most_increase, found, len(tokenizer.prefix_ids), sizes,
        uncorrected=uncorrected,
    )  # fmt: skip
    return (
        _with_details(report, package, manifest, checkpoint, tokenizer, ids, decoders, progress) if details else report
    )


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
    decoders: list[PackagedDecoder],
    progress: Progress,
) -> ValidationReport:
    spec, names = checkpoint.spec, [name for name in report.targets if name in manifest.models]
    progress("Writing samples", "", 0, SAMPLE_TOKENS * len(PROMPTS))
    written = samples(
        spec, checkpoint, tokenizer, dict(zip(names, decoders, strict=False)), SAMPLE_TOKENS,
        lambda done: progress("Writing samples", "", done, SAMPLE_TOKENS * len(PROMPTS)),
    )  # fmt: skip
    stored = {name: packaged_target(package, manifest, name).matrices(package, manifest) for name in names}
    errors = matrix_errors(
        spec, checkpoint, ids[:1], stored, lambda layer: progress("Matrices", f"layer {layer}", layer, spec.layers)
    )
    return replace(report, samples=written, matrices=errors)
