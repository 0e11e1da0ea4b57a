"""The memory and disk that converting a model takes, compared with what is free on this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from edgesw.checkpoint.checkpoint import read_spec
from edgesw.checkpoint.source import Source
from edgesw.conversion.doctor import Diagnosis
from edgesw.conversion.plans import make_plans
from edgesw.conversion.settings import Settings
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.system.machine import free_disk
from edgesw.system.sizes import format_size
from edgesw.targets.registry import TARGETS

FETCHED_BYTES = 2  # a weight on the hub: float16 or bfloat16


@dataclass(frozen=True)
class Fit:
    """The requirements of converting to one target with the defaults, and the verdict."""

    target: str
    memory_bytes: int
    output_bytes: int
    verdict: str
    """`fits`, or what is short, or why this target cannot store the model."""
    to_do: str | None = None


@dataclass(frozen=True)
class ModelFit:
    """The requirements of one model for all targets."""

    origin: str
    fetch_bytes: int
    """Bytes still to be fetched from the hub, estimated."""
    targets: tuple[Fit, ...]
    fetch_to_do: str | None = None

    @property
    def to_do(self) -> tuple[str, ...]:
        """What is short, each with what to do. Empty: every target fits."""
        return tuple(each for each in (self.fetch_to_do, *(fit.to_do for fit in self.targets)) if each)


def fit_model(name: str, found: Diagnosis) -> ModelFit:
    """Checks whether converting a model fits. Only its config is read or fetched. Raises as `read_spec`."""
    source, spec = read_spec(name)
    fetch, free, to_do = _fetch_bytes(source, spec), free_disk(source.path), None
    if fetch > free:
        to_do = (
            f"fetching the model takes about {format_size(fetch)}, and the hub's cache has {format_size(free)} free: "
            "let HF_HOME name a folder on another disk."
        )
    return ModelFit(source.origin, fetch, tuple(_fit(target, spec, found) for target in TARGETS), to_do)


def _fit(target: str, spec: DecoderSpec, found: Diagnosis) -> Fit:
    settings = Settings((target,))
    try:
        plans = make_plans(spec, settings)
    except UsageError as error:
        return Fit(target, 0, 0, "cannot be", str(error))
    memory, disk, lacks = found.memory_bytes, free_disk(Path.cwd()), {}
    if memory is not None and plans.memory_bytes > memory:
        least = make_plans(spec, replace(settings, calibration="none")).memory_bytes
        other = f"--calibrate none takes about {format_size(least)}" if least <= memory else "take another machine"
        lacks["memory"] = (
            f"about {format_size(plans.memory_bytes)} of memory and {format_size(memory)} are free: close other "
            f"programs, or {other}"
        )
    if plans.output_bytes > disk:
        lacks["disk"] = (
            f"about {format_size(plans.output_bytes)} of disk and {format_size(disk)} are free: take a folder on "
            "another disk, or fewer --bits"
        )
    sizes = plans.memory_bytes, plans.output_bytes
    if lacks:
        to_do = f"converting to {target} takes {'; and '.join(lacks.values())}."
        return Fit(target, *sizes, f"too little {' and '.join(lacks)}", to_do)
    return Fit(target, *sizes, "fits" if memory is not None else "fits, if memory does")


def _fetch_bytes(source: Source, spec: DecoderSpec) -> int:
    if source.is_local or source.kind == "gguf" or any(source.path.glob("*.safetensors")):
        return 0
    names = ("embed_tokens", "lm_head", *spec.matrices())
    return FETCHED_BYTES * sum(prod(spec.shape(name) or (0,)) for name in names)
