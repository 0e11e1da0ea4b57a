"""generation/: what `edgesw generate` writes with a tiny trained model, and the logits of each of its steps.

The Swift tests look these logits up by the tokens that were fed, so that a loop which feeds wrong tokens gets none.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import coreml_calls
import numpy as np
import tiny

from edgesw.package.manifest import read_manifest
from edgesw.runtime.generate import generate
from edgesw.runtime.packaged_decoder import PackagedDecoder
from edgesw.targets.registry import open_decoder
from edgesw.text.tokenizer import Tokenizer

CONTEXT = 96
# Prompts and their limits of tokens. The second begins with the first and its continuation; the last fills the context.
PROMPTS = (("The old house", 24), (None, 24), ("Zoë – 日本: ", 200))


def make(folder: Path) -> None:
    """Writes coreml.json, and a package's manifest and tokenizer files with the recording to the folder generation."""
    coreml_calls.make(folder)
    output = folder / "generation"
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        model, package = Path(place) / "model", Path(place) / "package"
        tiny.save_llama(model, steps=400)
        targets = ("--target", "onnx", "--target", "coreml", "--compute", "ane")
        _run("convert", model, *targets, "--context", CONTEXT, "-o", package)
        for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "manifest.json"):
            (output / name).write_bytes((package / name).read_bytes())
        cases, rows = _cases(package)
    np.concatenate(rows).astype("<f4").tofile(output / "logits.bin")
    content = {"context": CONTEXT, "vocabulary": rows[0].shape[1], "cases": cases}
    (output / "generation.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _cases(package: Path) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Returns what was generated from each prompt, and the logits (tokens, vocabulary) after each of its tokens."""
    decoder = open_decoder(package, read_manifest(package), "onnx")
    tokenizer = Tokenizer.from_folder(package)
    cases: list[dict[str, Any]] = []
    rows: list[np.ndarray] = []
    for given, most in PROMPTS:
        prompt = cases[-1]["prompt"] + cases[-1]["text"] + " and so" if given is None else given
        ids = tokenizer.encode(prompt)
        recorded = _Recorded(decoder)
        tokens = list(generate(recorded, ids, tokenizer.eos_ids, most))
        decoder.reset()
        before = decoder.step(np.array(ids[:-1]))  # for loops that feed the prompt in chunks
        text = _run("generate", package, prompt, "--max-tokens", most).removeprefix(prompt).removesuffix("\n")
        fed = [*ids, *tokens][: len(before) + len(recorded.rows)]
        rows += [before, np.stack(recorded.rows)]
        cases.append({"prompt": prompt, "most": most, "ids": ids, "tokens": tokens, "text": text, "fed": fed})
    return cases, rows


class _Recorded:
    """A decoder that records the logits which generation chooses from."""

    def __init__(self, decoder: PackagedDecoder) -> None:
        self._decoder, self.context, self.runtime = decoder, decoder.context, decoder.runtime
        self.rows: list[np.ndarray] = []

    def reset(self) -> None:
        self._decoder.reset()

    def prefill(self, ids: np.ndarray) -> np.ndarray:
        self.rows.append(self._decoder.prefill(ids))
        return self.rows[-1]

    def step(self, ids: np.ndarray) -> np.ndarray:
        logits = self._decoder.step(ids)
        self.rows.append(logits[-1])
        return logits


def _run(*arguments: object) -> str:
    ran = tiny.edgesw(*arguments)
    assert ran.code == 0, ran.err
    return ran.out
