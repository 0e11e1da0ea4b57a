"""What rounding the inputs of products to 8 bits costs and saves in an ONNX package: accuracy_level 4 beside 0.

    python benchmarks/onnx_levels.py PACKAGE --against MODEL [--text FILE] [--windows 4] [--rounds 5]

The same package but for the attribute of MatMulNBits, interleaved, on all cores.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from printing import say, table, versions

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.emit.onnx_linear import ACCURACY_LEVEL
from edgesw.package.package import read_manifest
from edgesw.runtime.onnx import OnnxDecoder
from edgesw.runtime.torch import FloatLogits
from edgesw.text.texts import load_text, windows
from edgesw.text.tokenizer import Tokenizer
from edgesw.validate.bench import Speed, measure_speed
from edgesw.validate.measure import measure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from tiny import unrounded

LEVELS = (0, ACCURACY_LEVEL)
PROMPT, TOKENS = 128, 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="with an ONNX model")
    parser.add_argument("--against", required=True, metavar="MODEL", help="the float model")
    parser.add_argument("--text", metavar="FILE", help="(default: the one that ships)")
    parser.add_argument("--windows", type=int, default=4, help="of 512 tokens (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="of the interleaved timing (default: 5)")
    given = parser.parse_args()
    manifest = read_manifest(given.package)
    with tempfile.TemporaryDirectory() as folder:
        shipped = Path(folder) / manifest.models["onnx"]
        for name in (shipped.name, f"{shipped.name}.data"):
            shutil.copy(given.package / name, folder)
        decoders = [OnnxDecoder(path, manifest.context) for path in (unrounded(shipped), shipped)]
    prompt = np.random.default_rng(0).integers(0, manifest.decoder.vocab_size, PROMPT)
    speeds: list[list[Speed]] = [[] for _ in LEVELS]
    for number in range(given.rounds):
        say(f"round {number + 1} of {given.rounds}")
        for decoder, taken in zip(decoders, speeds, strict=True):
            taken.append(measure_speed(decoder, prompt, TOKENS))
    checkpoint = open_checkpoint(given.against)
    ids = windows(load_text(given.text), Tokenizer.from_folder(given.package), given.windows, 512)
    *_, results = measure(ids, FloatLogits(checkpoint.spec, checkpoint, ids), decoders)
    rows = [
        (
            str(level),
            f"{statistics.median(speed.prefill_per_second for speed in taken):.0f}",
            f"{statistics.median(speed.decode_per_second for speed in taken):.1f}",
            f"{result.increase:+.2%}",
            f"{result.kl_divergence:.4f}",
        )
        for level, taken, result in zip(LEVELS, speeds, results, strict=True)
    ]
    print(f"A prompt of {PROMPT} tokens and {TOKENS} more, medians of {given.rounds} rounds; {given.windows} windows.")
    print(f"{versions('onnxruntime', 'numpy')}.\n")
    print(table(("accuracy_level", "prefill/s", "decode/s", "over float", "KL, nats"), rows))


if __name__ == "__main__":
    main()
