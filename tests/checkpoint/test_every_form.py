"""A checkpoint is the model that transformers reads from the same files, with the same prompts, or is refused: never
silently another one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import checkpoint_forms
import numpy as np
import pytest
import tokenizer_forms
import torch

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError, UsageError
from edgesw.runtime.torch import FloatLogits

IDS = np.array([[5, 90, 17, 17, 3, 60, 2, 44, 8, 31, 77, 5, 9, 64, 33, 1, 0, 12, 50, 95, 41, 28, 70, 66]])
TOKENIZERS = tuple(tokenizer_forms.forms())
QUICK, ALL = 150, 1200
TOLERANCE = 1e-4


def theirs(folder: Path) -> np.ndarray | None:
    """transformers' float32 logits; None where it refuses the files, or would start tensors with random values."""
    import transformers

    try:
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        with torch.inference_mode():
            logits: Any = model(torch.from_numpy(IDS)).logits[0]
    except Exception:  # whatever it raises, on loading or on running
        return None
    invented = [name for name in info["missing_keys"] if not name.endswith("bias")]
    if invented or info["mismatched_keys"]:
        return None
    return logits.numpy() if torch.isfinite(logits).all() else None


def check(number: int, folder: Path) -> str:
    """Raises AssertionError for a silent difference, of logits, ids or prompts; returns what became of the model."""
    form, tokenizer = checkpoint_forms.make(number), TOKENIZERS[number % len(TOKENIZERS)]
    tokenizer_forms.write(folder, tokenizer)
    checkpoint_forms.write(form, folder)
    said = f"form {number}: {form.kind}, {', '.join(form.changes) or 'as saved'}"
    off = tokenizer_forms.differences(folder, folder / "package")
    # Of vocab.json and merges.txt transformers makes a Gemma tokenizer that has only special tokens: refused.
    made_up = form.kind.startswith("gemma") and tokenizer.files == "merges"
    assert not off or (made_up and "it has only special tokens" in off[0]), (
        f"{said}, tokenizer {tokenizer.name}: {off[0]}"
    )
    expected = theirs(folder)
    try:
        checkpoint = open_checkpoint(str(folder))
    except EdgeswError as error:
        assert isinstance(error, (CheckpointError, UnsupportedError, UsageError)), f"{said}: {error!r}"
        assert str(folder) in str(error), f"{said}: the file is not named: {error}"
        assert "\n" not in str(error), f"{said}: {error}"
        assert expected is None or form.expected != "same", f"{said}: refused, though transformers reads it: {error}"
        return "refused"
    assert form.expected != "refused", f"{said}: read, though it must be refused"
    if expected is None:
        assert form.expected != "same" or form.changes, f"{said}: transformers does not read it"
        return "read by edgesw alone"
    found = next(iter(FloatLogits(checkpoint.spec, checkpoint, IDS)))
    difference = np.abs(found - expected).max() / max(1, np.abs(expected).max())
    assert difference < TOLERANCE, f"{said}: logits differ by {difference:.2g}"
    return "same"


def check_all(numbers: range, folder: Path) -> None:
    found = Counter(check(number, folder / str(number)) for number in numbers)
    assert found["same"] > len(numbers) // 3, f"too few were compared for this to say anything: {found}"


@pytest.mark.parametrize("start", range(0, QUICK, 30))
def test_no_checkpoint_is_silently_another_model(start: int, tmp_path: Path) -> None:
    """A package of another model than the one on disk would pass every later check: they compare with what was read."""
    check_all(range(start, start + 30), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(QUICK, ALL, 150))
def test_no_checkpoint_of_a_thousand_is_silently_another_model(start: int, tmp_path: Path) -> None:
    """As above, for the rarer combinations."""
    check_all(range(start, start + 150), tmp_path)
