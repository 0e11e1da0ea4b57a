"""Validation: a package on its runtimes against the float model it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesw.arm64.decoder import Arm64Decoder
from edgesw.arm64.machine import arm64
from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint
from edgesw.errors import UsageError
from edgesw.package import Manifest, check_files, read_manifest
from edgesw.progress import Progress
from edgesw.runtime.package import PackagedDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.targets import check_target, open_decoder
from edgesw.texts import Text, windows
from edgesw.tokenizer import Tokenizer
from edgesw.validate.measure import Agreement, measure


@dataclass(frozen=True)
class ValidationReport:
    """What was measured, on what, and whether each target passes."""

    text: str
    windows: int
    tokens: int  # per window
    most_increase: float
    targets: dict[str, Agreement]

    @property
    def passed(self) -> bool:
        return all(result.passes(self.most_increase) for result in self.targets.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "windows": self.windows,
            "tokens_per_window": self.tokens,
            "max_perplexity_increase": self.most_increase,
            "passed": self.passed,
            "targets": {
                name: {**result.to_dict(), "passed": result.passes(self.most_increase)}
                for name, result in self.targets.items()
            },
        }


def float_model(manifest: Manifest, against: str | None) -> Checkpoint:
    """The float model: `against`, or what the manifest names. UsageError when that is not enough or another model."""
    source = manifest.source
    if against is None and source["origin"].startswith("local"):
        raise UsageError(
            f"the package was made from a {source['origin']} ('{source['name']}'): name it with --against."
        )
    checkpoint = open_checkpoint(against or source["name"], None if against else source["revision"])
    if checkpoint.spec.vocab_size != manifest.decoder.vocab_size:
        raise UsageError(
            f"'{checkpoint.source.name}' has {checkpoint.spec.vocab_size} tokens and the package "
            f"{manifest.decoder.vocab_size}: --against must be the model it was made from."
        )
    return checkpoint


def validate(
    package: Path,
    text: Text,
    *,
    against: str | None,
    targets: tuple[str, ...],
    count: int,
    tokens: int,
    most_increase: float,
    precision: str,
    progress: Progress,
    compute: str | None = None,
    cpus: tuple[str, ...] = (),
) -> ValidationReport:
    """Measure `targets` (default: all in the package) over `count` windows of `tokens` tokens. On a Mac Core ML runs on
    the units `compute`, None for those that the package is made for. The ONNX model runs on each of the ARM processors
    `cpus` too: see `edgesw.arm64.machine`."""
    manifest = read_manifest(package)
    check_files(package, manifest, contents=True)
    checkpoint = float_model(manifest, against)
    names = targets or tuple(manifest.models)
    tokens = min(tokens, manifest.context)
    ids = windows(text, Tokenizer.from_folder(package), count, tokens)
    decoders: list[PackagedDecoder] = []
    for name in names:
        progress("Loading", name, len(decoders), len(names))
        decoders.append(open_decoder(package, manifest, name, precision, compute))
    for cpu in cpus:
        check_target(package, manifest, "onnx")
        decoders.append(Arm64Decoder(package / manifest.models["onnx"], manifest.context, arm64(cpu, progress)))
        names = (*names, f"onnx, {cpu}")
    layers = checkpoint.spec.layers
    reference = FloatLogits(
        checkpoint.spec, checkpoint, ids, lambda layer: progress("Float model", f"layer {layer}", layer, layers)
    )
    progress("Measuring", "", 0, ids.size - len(ids))
    results: list[Agreement] = []
    for so_far in measure(ids, reference, decoders):
        results = so_far
        progress("Measuring", "", results[0].positions, ids.size - len(ids))
    found = dict(zip(names, results, strict=True))
    return ValidationReport(text.name, ids.shape[0], ids.shape[1], most_increase, found)
