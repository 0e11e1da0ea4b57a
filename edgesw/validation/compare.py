"""Comparison of packages of one model: size, quality, speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesw.errors import UsageError
from edgesw.package.manifest import read_manifest
from edgesw.progress import Progress
from edgesw.targets.registry import TARGETS
from edgesw.text.texts import Text
from edgesw.validation.bench import bench
from edgesw.validation.measure import Agreement
from edgesw.validation.validate import validate

PROMPT, TOKENS = 64, 32


@dataclass(frozen=True)
class Compared:
    """One model of one package."""

    package: str
    target: str
    bytes: int
    stored_bits: float
    """Per weight of the layers' matrices, without corrections."""
    agreement: Agreement
    prefill_per_second: float | None
    """None where the target's own runtime is not available."""
    decode_per_second: float | None

    @property
    def title(self) -> str:
        return f"{self.package}, {self.target}"

    def to_dict(self) -> dict[str, Any]:
        return {**vars(self), "agreement": self.agreement.to_dict(), "increase": self.agreement.increase}


def compare(
    packages: list[Path],
    texts: Sequence[Text],
    *,
    against: str | None,
    count: int | None,
    speed: bool,
    progress: Progress,
    other_model: bool = False,
) -> list[Compared]:
    """Compares each model of each package with the float model, over the same windows. The float model runs once; each
    speed is measured in a process of its own, one after the other.

    UsageError for packages of different models, and as `float_model` says for a float model that is not theirs.
    """
    manifests = [read_manifest(package) for package in packages]
    first = manifests[0]
    for package, manifest in zip(packages, manifests, strict=True):
        if against is None and manifest.source != first.source:
            raise UsageError(
                f"'{package}' was made from {manifest.source.name} and '{packages[0]}' from {first.source.name}: "
                "packages of one model can be compared."
            )
    found = []
    for package, manifest in zip(packages, manifests, strict=True):
        report = validate(package, texts, against=against, count=count, progress=progress, other_model=other_model)
        for target, agreement in report.targets.items():
            prefill = decode = None
            if speed and manifest.context > TOKENS and TARGETS[target].is_native():
                progress("Timing", f"{package}, {target}", 0, 1)
                (timed,) = bench(package, manifest, target, (), (min(PROMPT, manifest.context - TOKENS),), TOKENS)
                prefill, decode = timed.speeds[0].prefill_per_second, timed.speeds[0].decode_per_second
            bits, size = manifest.models[target].stored_bits, manifest.model_bytes(target)
            found.append(Compared(str(package), target, size, bits, agreement, prefill, decode))
    return found
