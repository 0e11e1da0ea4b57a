"""ONNX packages of edgesw and of onnxruntime-genai's model builder, from one checkpoint, at 4 bits in blocks of 32.

Size, processor time and peak memory of the conversion; tokens per second in onnxruntime-genai, reading a prompt of 128
and writing 64, interleaved; perplexity and KL divergence of the packages as they run. The checkpoint is a folder as
Hugging Face has them; `off-grid` writes SmolLM2's. Most of the time is spent on conversions, which --folder saves.
Needs onnxruntime-genai, and llama-cpp-python for --gguf.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.lib.arguments import add_rounds, add_text, at_least
from benchmarks.lib.benchmark import Benchmark, Section
from benchmarks.lib.command import EDGESW, spawn
from benchmarks.lib.printing import megabytes, say, table, versions
from benchmarks.lib.stages import peak_bytes
from benchmarks.lib.timing import Speeds, interleave, ratio
from benchmarks.peers.runtimes import genai, llama_cpp

BENCHMARK = Benchmark(
    "Speed, size, conversion and quality of ONNX packages compared with onnxruntime-genai's model builder.",
    minutes=30,
    docs=(
        Section("README.md", "How it compares"),
        Section("docs/speed.md", "ONNX packages compared with onnxruntime-genai's model builder"),
    ),
)
PROMPT, TOKENS = 128, 64
BUILDER = (sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "cpu")
BASE = "builder, RTN, head 4 bits"


@dataclass(frozen=True)
class Package:
    """A folder that genai loads, and what its conversion took: processor seconds, peak bytes, bytes written."""

    title: str
    folder: Path
    seconds: float
    peak: int
    size: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="a checkpoint")
    add_text(parser, 8, least=0)
    parser.add_argument("--threads", type=at_least(1), default=os.cpu_count() or 1, help="of each runtime (all)")
    add_rounds(parser, 9)
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the model for llama.cpp, timed as well")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="save the packages here, and use them again")


def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        packages = make_packages(given.model, given.folder or Path(scratch))
        runners = {each.title: genai(each.folder, given.threads, PROMPT, TOKENS) for each in packages}
        if given.gguf is not None:
            runners[f"llama.cpp, {given.gguf.stem}"] = llama_cpp(given.gguf, given.threads, PROMPT, TOKENS)
        speeds = interleave(runners, given.rounds)
        quality = measure_quality(given.model, packages, given.text, given.windows) if given.windows else {}
    print(f"{given.model.name}, {given.threads} threads, a prompt of {PROMPT} tokens and {TOKENS} more, ", end="")
    print(f"medians of {given.rounds} rounds.")
    print(f"{versions('onnxruntime', 'onnxruntime-genai', 'numpy', 'torch')}.\n")
    columns = ("package", "size", "made in, CPU s", "peak memory", "prefill/s", "ratio", "decode/s", "ratio")
    print(table((*columns, "over float", "KL, nats"), list(_rows(packages, speeds, quality))), end="\n\n")
    print(f"'ratio': the median over rounds of the speed relative to '{BASE}' in the same round.")


def make_packages(model: Path, folder: Path) -> list[Package]:
    """edgesw's and the builder's packages, 4 bits in blocks of 32: with a head of 4 bits and with one of 8."""
    build = (*BUILDER, "-i", str(model), "-c", str(folder / "cache"))
    convert = (*EDGESW, "convert", str(model), "--target", "onnx")
    blocks = ("matmul_block_size=32", "accuracy_level=4")
    commands: dict[str, tuple[str, ...]] = {
        "edgesw, head 4 bits": (*convert, "--embedding-bits", "4", "-o"),
        "edgesw, head 8 bits, the default": (*convert, "-o"),
        BASE: (*build, "--extra_options", *blocks, "algo_config=rtn", "-o"),
        "builder, RTN, head 8 bits": (*build, "--extra_options", *blocks, "algo_config=rtn_last", "-o"),
        "builder, k-quant, head 4 bits": (*build, "--extra_options", *blocks, "algo_config=k_quant", "-o"),
    }
    return [_made(title, command, folder / str(at)) for at, (title, command) in enumerate(commands.items())]


def _made(title: str, command: Sequence[str], folder: Path) -> Package:
    """A package, converted now unless a file next to `folder` says that it was."""
    done = folder.with_suffix(".json")
    if not done.exists():
        say(f"making: {title}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_suffix(".log")
        with log.open("wb") as output:
            try:
                usage = spawn([*command, str(folder)], output, output)
            except subprocess.CalledProcessError:
                sys.exit(f"Error: '{title}' was not made.\n{log.read_text(errors='replace')[-2000:]}")
        done.write_text(json.dumps([usage.ru_utime + usage.ru_stime, peak_bytes(usage)]))
    seconds, peak = json.loads(done.read_text())
    return Package(title, folder, seconds, peak, sum(file.stat().st_size for file in folder.glob("model.onnx*")))


def measure_quality(model: Path, packages: Sequence[Package], text: str | None, count: int) -> dict[str, Any]:
    """By title, how each package, as it runs, agrees with the float model."""
    import numpy as np

    from benchmarks.lib.model import open_model, windows_of
    from edgesw.runtime.onnx import OnnxDecoder
    from edgesw.runtime.torch import FloatLogits
    from edgesw.text.texts import load_text
    from edgesw.validation.measure import measure

    checkpoint, tokenizer = open_model(str(model))
    ids = windows_of(load_text(text), checkpoint, tokenizer, count)
    cache = (1, checkpoint.spec.kv_heads, 0, checkpoint.spec.head_dim)

    class Decoder(OnnxDecoder):
        """Runs the builder's packages too, which leave the caches' sizes open."""

        def reset(self) -> None:
            self._tokens = 0
            self._cache = {past.name: np.zeros(cache, np.float32) for past in self._past}

    decoders = [Decoder(package.folder / "model.onnx", ids.shape[1]) for package in packages]
    quality: dict[str, Any] = {}
    for at, results in enumerate(measure(ids, FloatLogits(checkpoint.spec, checkpoint, ids), [*decoders]), 1):
        say(f"window {at} of {count}")
        quality = {package.title: result for package, result in zip(packages, results, strict=True)}
    return quality


def _rows(packages: Sequence[Package], speeds: Speeds, quality: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    made = {package.title: package for package in packages}
    base = speeds[BASE]
    for title, (prefill, decode) in speeds.items():
        package, result = made.get(title), quality.get(title)
        yield (
            title,
            megabytes(package.size) if package else "",
            f"{package.seconds:.0f}" if package else "",
            megabytes(package.peak) if package else "",
            f"{statistics.median(prefill):.0f}",
            f"{ratio(prefill, base[0]):.2f}",
            f"{statistics.median(decode):.1f}",
            f"{ratio(decode, base[1]):.2f}",
            f"{result.increase:+.1%}" if result else "",
            f"{result.kl_divergence:.4f}" if result else "",
        )
