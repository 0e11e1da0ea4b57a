"""`validate --long`: a package read to the last slot of its cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import CONTEXT, edgesw, logits_of
from tiny_families import save

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.text.texts import load_texts
from edgesw.text.tokenizer import Tokenizer
from edgesw.validation.long_context import DECODED, long_ids

WIDE = ("--max-kl", 5, "--min-top1", 1, "--max-perplexity-increase", 900)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def validate(package: Path, model: Path, *more: object) -> dict[str, Any]:
    words = ("--against", model, "--windows", 1, "--tokens", 16, "--long", "--json", *WIDE, *more)
    ran = edgesw("validate", package, *words)
    assert ran.code in (0, 3), ran.err
    return json.loads(ran.out)


def test_divergences_are_those_of_transformers(
    tiny_model: tuple[Path, Any], tiny_compressed: Any, unrounded_package: Path
) -> None:
    """Positions, caches and masks that go wrong past the first window show nowhere else."""
    folder, model = tiny_model
    ids = long_ids(Tokenizer.from_folder(unrounded_package), load_texts(None), CONTEXT)
    p, q = (log_softmax(logits_of(one, ids)) for one in (model, tiny_compressed))
    each = (np.exp(p) * (p - q)).sum(-1)
    wanted = [each[end - DECODED : end].mean() for end in (CONTEXT // 4, CONTEXT // 2, CONTEXT)]
    for found in validate(unrounded_package, folder)["long"]:
        assert found["positions"] == [CONTEXT // 4, CONTEXT // 2, CONTEXT]
        assert found["divergences"] == pytest.approx(wanted, rel=0.01 if found["target"] == "onnx" else 0.2)


def test_a_cache_that_forgets_fails(tiny_llama: Path, tiny_package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 512 tokens pass, and the app writes nonsense after a page."""
    from edgesw.runtime.onnx import OnnxDecoder

    (sound,) = validate(tiny_package, tiny_llama, "--target", "onnx")["long"]
    step = OnnxDecoder.step

    def forgets(self: OnnxDecoder, ids: np.ndarray) -> np.ndarray:
        if self._tokens >= CONTEXT // 2:  # a wrong position from here on
            self.reset()
        return step(self, ids)

    monkeypatch.setattr(OnnxDecoder, "step", forgets)
    (found,) = validate(tiny_package, tiny_llama, "--target", "onnx")["long"]
    assert found["divergences"][-1] > 1.5 * max(sound["divergences"])
    between = (found["divergences"][-1] + max(sound["divergences"])) / 2
    failed = validate(tiny_package, tiny_llama, "--target", "onnx", "--max-kl", between)
    assert any(f"after {CONTEXT:,} tokens" in line for line in failed["targets"]["onnx"]["failures"])


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mistral", "gemma3", "smollm3-sliding"])
@pytest.mark.parametrize(
    "options", [("onnx",), ("coreml",), ("coreml", "--compute", "ane", "--lengths", "1,16")], ids=str
)
def test_past_a_windows_edge_and_a_rolled_cache(
    variant: str, options: tuple[str, ...], tiny_llama: Path, tmp_path: Path
) -> None:
    """Layers that see only a window keep only a window: a rolled cache that is off by one is off for ever."""
    save(variant, tmp_path / "model", vocab_size=320)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((tiny_llama / name).read_bytes())
    spec = open_checkpoint(str(tmp_path / "model")).spec
    context = min(spec.max_positions, 120)
    assert any(window is not None and window < context for window in spec.layer_windows)
    words = ("--target", *options, "--bits", 8, "--calibrate", "none", "--context", context)
    ran = edgesw("convert", tmp_path / "model", *words, "-o", tmp_path / "package")
    assert ran.code == 0, ran.err
    (found,) = validate(tmp_path / "package", tmp_path / "model")["long"]
    assert max(found["divergences"]) < 0.05
