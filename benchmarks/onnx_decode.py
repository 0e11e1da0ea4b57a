"""ONNX packages beside those of onnxruntime-genai's model builder: speed, size, conversion, quality.

    python benchmarks/onnx_decode.py --model FOLDER [--text FILE] [--threads 2] [--rounds 9] [--windows 8] [--gguf FILE]

FOLDER is a checkpoint as Hugging Face has them; `benchmarks/off_grid.py` writes SmolLM2's. All packages run in
onnxruntime-genai, one after the other in every round, so that what else the machine does meets all of them.
Imports nothing large before the conversions: a child starts as a copy of this process, and the kernel counts that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion import EDGESW
from printing import megabytes, say, table, versions
from stages import peak_bytes

PROMPT, TOKENS, WINDOW = 128, 64, 512
BUILDER = (sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "cpu")
BASE = "builder, RTN, head 4 bits"


@dataclass(frozen=True)
class Package:
    """A folder that genai loads, and what it took to make it: seconds of processors, bytes of memory at most, bytes
    written."""

    title: str
    folder: Path
    seconds: float
    peak: int
    size: int


Speeds = dict[str, tuple[list[float], list[float]]]
"""By title: tokens a second in each round, reading the prompt and writing after it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, metavar="FOLDER", help="a checkpoint")
    parser.add_argument("--text", metavar="FILE", help="text to measure quality on (default: the one that ships)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each runtime (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="of the interleaved timing (default: 9)")
    parser.add_argument("--windows", type=int, default=8, help="of 512 tokens, for quality (default: 8; 0: none)")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="the model for llama.cpp, timed as well")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="where to keep the packages, and find them again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        packages = make_packages(given.model, given.folder or Path(scratch))
        speeds = time_packages(packages, given.gguf, given.threads, given.rounds)
        quality = measure_quality(given.model, packages, given.text, given.windows) if given.windows else {}
    print(f"{given.model.name}, {given.threads} threads, a prompt of {PROMPT} tokens and {TOKENS} more, ", end="")
    print(f"medians of {given.rounds} rounds.")
    print(f"{versions('onnxruntime', 'onnxruntime-genai', 'numpy', 'torch')}.\n")
    columns = ("package", "size", "made in, CPU s", "peak memory", "prefill/s", "beside", "decode/s", "beside")
    print(table((*columns, "over float", "KL, nats"), list(_rows(packages, speeds, quality))), end="\n\n")
    print(f"'beside': the median over rounds of the ratio to '{BASE}' in the same round.")


def make_packages(model: Path, folder: Path) -> list[Package]:
    """Ours and the builder's, 4 bits in blocks of 32: with a head of 4 bits and with one of 8."""
    build = (*BUILDER, "-i", str(model), "-c", str(folder / "cache"))
    ours = (*EDGESW, "convert", str(model), "--target", "onnx")
    blocks = ("matmul_block_size=32", "accuracy_level=4")
    commands: dict[str, tuple[str, ...]] = {
        "edgesw, head 4 bits": (*ours, "--embedding-bits", "4", "-o"),
        "edgesw, head 8 bits, the default": (*ours, "-o"),
        BASE: (*build, "--extra_options", *blocks, "algo_config=rtn", "-o"),
        "builder, RTN, head 8 bits": (*build, "--extra_options", *blocks, "algo_config=rtn_last", "-o"),
        "builder, k-quant, head 4 bits": (*build, "--extra_options", *blocks, "algo_config=k_quant", "-o"),
    }  # fmt: skip
    return [_made(title, command, folder / str(at)) for at, (title, command) in enumerate(commands.items())]


def _made(title: str, command: Sequence[str], folder: Path) -> Package:
    kept = folder.with_suffix(".json")
    if not kept.exists():
        say(f"making: {title}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        log = folder.with_suffix(".log")
        with log.open("wb") as said:
            child = subprocess.Popen([*command, str(folder)], stdout=said, stderr=said)
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"Error: '{title}' was not made.\n{log.read_text(errors='replace')[-2000:]}")
        kept.write_text(json.dumps([usage.ru_utime + usage.ru_stime, peak_bytes(usage)]))
    seconds, peak = json.loads(kept.read_text())
    return Package(title, folder, seconds, peak, sum(file.stat().st_size for file in folder.glob("model.onnx*")))


def time_packages(packages: Sequence[Package], gguf: Path | None, threads: int, rounds: int) -> Speeds:
    """Each in turn, in every round; the first round warms up and does not count."""
    runners = {package.title: _genai(package.folder, threads) for package in packages}
    if gguf is not None:
        runners[f"llama.cpp, {gguf.stem}"] = _llama_cpp(gguf, threads)
    speeds: Speeds = {title: ([], []) for title in runners}
    for at in range(rounds + 1):
        say(f"round {at} of {rounds}")
        for title, run in runners.items():
            prefill, decode = run()
            if at:
                speeds[title][0].append(PROMPT / prefill)
                speeds[title][1].append(TOKENS / decode)
    return speeds


def _genai(folder: Path, threads: int) -> Callable[[], tuple[float, float]]:
    """What reads the prompt and writes tokens: seconds of both."""
    import onnxruntime_genai as og

    config = og.Config(str(folder))
    config.overlay(f'{{"model": {{"decoder": {{"session_options": {{"intra_op_num_threads": {threads}}}}}}}}}')
    model = og.Model(config)

    def run() -> tuple[float, float]:
        settings = og.GeneratorParams(model)
        settings.set_search_options(max_length=PROMPT + TOKENS + 1, min_length=PROMPT + TOKENS + 1)
        generator = og.Generator(model, settings)
        began = time.perf_counter()
        generator.append_tokens(list(range(100, 100 + PROMPT)))
        generator.generate_next_token()
        read = time.perf_counter()
        for _ in range(TOKENS):
            generator.generate_next_token()
        return read - began, time.perf_counter() - read

    return run


def _llama_cpp(gguf: Path, threads: int) -> Callable[[], tuple[float, float]]:
    import llama_cpp

    model = llama_cpp.Llama(
        str(gguf), n_ctx=512, n_batch=PROMPT, n_threads=threads, n_threads_batch=threads, verbose=False
    )

    def run() -> tuple[float, float]:
        model.reset()
        began = time.perf_counter()
        model.eval(list(range(100, 100 + PROMPT)))
        token = model.sample(temp=0)
        read = time.perf_counter()
        for _ in range(TOKENS):
            model.eval([token])
            token = model.sample(temp=0)
        return read - began, time.perf_counter() - read

    return run


def measure_quality(model: Path, packages: Sequence[Package], text: str | None, count: int) -> dict[str, Any]:
    """By title, how each package agrees with the float model: the packages themselves run."""
    import numpy as np

    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.runtime.onnx import OnnxDecoder
    from edgesw.runtime.torch import FloatLogits
    from edgesw.text.texts import load_text, windows
    from edgesw.text.tokenizer import Tokenizer
    from edgesw.validate.measure import measure

    checkpoint = open_checkpoint(str(model))
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files())
    ids = windows(load_text(text), tokenizer, count, WINDOW)
    cache = (1, checkpoint.spec.kv_heads, 0, checkpoint.spec.head_dim)

    class Decoder(OnnxDecoder):
        """Of the builder's packages too, which leave the caches' sizes open."""

        def reset(self) -> None:
            self._tokens = 0
            self._cache = {past.name: np.zeros(cache, np.float32) for past in self._past}

    decoders = [Decoder(package.folder / "model.onnx", WINDOW) for package in packages]
    quality: dict[str, Any] = {}
    for at, results in enumerate(measure(ids, FloatLogits(checkpoint.spec, checkpoint, ids), decoders), 1):
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
            f"{_beside(prefill, base[0]):.2f}",
            f"{statistics.median(decode):.1f}",
            f"{_beside(decode, base[1]):.2f}",
            f"{result.increase:+.1%}" if result else "",
            f"{result.kl_divergence:.4f}" if result else "",
        )


def _beside(rates: Sequence[float], base: Sequence[float]) -> float:
    return statistics.median(own / other for own, other in zip(rates, base, strict=True))


if __name__ == "__main__":
    main()
