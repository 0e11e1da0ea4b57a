"""Timings of a package: loading, reading a prompt, generating tokens, and the memory it takes."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgesw.errors import UsageError
from edgesw.package.manifest import Manifest
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.system.sizes import counted
from edgesw.system.workers import worker_processes
from edgesw.targets.registry import TARGETS, open_decoder


@dataclass(frozen=True)
class Speed:
    """Speed after a prompt of `prompt` tokens."""

    prompt: int
    first_token_seconds: float
    """From the prompt to the logits of the first token."""
    prefill_per_second: float
    decode_per_second: float


@dataclass(frozen=True)
class Benched:
    """The timings of one model of a package on one choice of compute units, in a process of its own."""

    target: str
    compute: str | None
    runtime: str
    load_seconds: float
    peak_bytes: int
    """Peak resident memory of the process, libraries included."""
    speeds: tuple[Speed, ...]
    unit_shares: dict[str, float] | None
    """The share of operations on each compute unit; only Core ML reports it."""

    @property
    def title(self) -> str:
        return f"{self.target} ({self.compute})" if self.compute else self.target


def bench(
    package: Path,
    manifest: Manifest,
    target: str,
    units: tuple[str, ...],
    prompts: tuple[int, ...],
    tokens: int,
) -> Iterator[Benched]:
    """Times a target over each length of prompt, on each of `units` where it has compute units (empty: the ones the
    package is built for).

    UsageError for a prompt that leaves no room in the package's context.
    """
    for prompt in prompts:
        if prompt + tokens > manifest.context:
            raise UsageError(
                f"a prompt of {counted(prompt, 'token')} and {tokens} more do not fit: the package holds "
                f"{manifest.context}. Ask for fewer."
            )
    for compute in units if TARGETS[target].units and units else (None,):
        # A process of its own: peak memory is counted over the whole life of a process.
        with worker_processes(1) as process:
            yield process.submit(_bench_one, package, manifest, target, compute, prompts, tokens).result()


def _bench_one(
    package: Path, manifest: Manifest, target: str, compute: str | None, prompts: tuple[int, ...], tokens: int
) -> Benched:
    began = time.perf_counter()
    decoder = open_decoder(package, manifest, target, compute=compute)
    loaded = time.perf_counter() - began
    ids = np.random.default_rng(0).integers(0, manifest.decoder.vocab_size, max(prompts))
    speeds = tuple(measure_speed(decoder, ids[:prompt], tokens) for prompt in prompts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    shares = TARGETS[target].unit_shares(TARGETS[target].model_path(package, manifest), compute)
    return Benched(target, compute, decoder.runtime, loaded, peak, speeds, shares)


def measure_speed(decoder: PackagedDecoder, prompt: np.ndarray, tokens: int) -> Speed:
    """Feeds `prompt` (tokens,) twice, the first time to warm up, then generates `tokens` tokens one by one."""
    for _ in range(2):
        decoder.reset()
        began = time.perf_counter()
        logits = decoder.prefill(prompt)
        first = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(tokens):
        logits = decoder.step(np.array([int(logits.argmax())]))[-1]
    return Speed(len(prompt), first, len(prompt) / first, tokens / (time.perf_counter() - began))
