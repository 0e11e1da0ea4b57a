"""A head and an embedding that are one table are stored once, also where a file has the table in two precisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf_families import make, write

from edgesw.checkpoint.checkpoint import Checkpoint, open_checkpoint

TYPES = ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16")


def twice(folder: Path, types: tuple[str, str], change: float = 0.0) -> tuple[Checkpoint, np.ndarray]:
    """A GGUF of a tied model with its table stored as embedding and, after a `change`, as head, in these types."""
    import gguf

    model = make("qwen3", vocab_size=384, hidden_size=64)
    table = model.model.embed_tokens.weight.detach().numpy()
    rng = np.random.default_rng(0)
    head = table + (change * table.std() * rng.standard_normal(table.shape)).astype(np.float32)
    stored = {"token_embd.weight": (types[0], table), "output.weight": (types[1], head)}

    def replace(writer: Any) -> None:
        writer.tensors[0].pop("token_embd.weight")
        for name, (kind, values) in stored.items():
            number = getattr(gguf.GGMLQuantizationType, kind)
            writer.add_tensor(name, gguf.quantize(values, number), raw_dtype=number)

    return open_checkpoint(str(write("qwen3", folder / "m.gguf", model, replace))), table


@pytest.mark.parametrize("types", [(a, b) for a in TYPES for b in TYPES if a < b], ids=str)
def test_a_table_in_two_precisions_is_stored_once(tmp_path: Path, types: tuple[str, str]) -> None:
    """llama.cpp writes a tied table a second time, in more bits: a quarter of a small package would be waste."""
    checkpoint, table = twice(tmp_path, types)
    assert checkpoint.spec.tied_head
    assert "lm_head" not in checkpoint.names()
    best = max(types, key=lambda kind: {"F16": 11, "BF16": 8}.get(kind) or int(kind[1]))
    name = dict(zip(types, ("token_embd.weight", "output.weight"), strict=True))[best]
    assert f"'{name}' ({best}) and" in checkpoint.notes[0], "the user is not told which one is kept"
    step = np.abs(table).max() / {"Q4_0": 8, "Q4_1": 7, "Q5_0": 16, "Q5_1": 15, "Q8_0": 120}.get(best, 200)
    assert np.abs(checkpoint.tensor("lm_head") - table).max() <= step, "the less precise table was kept"


@pytest.mark.parametrize("types", [("Q8_0", "F16"), ("Q8_0", "Q8_0"), ("Q5_0", "Q8_0"), ("F16", "BF16")], ids=str)
@pytest.mark.parametrize("change", [0.2, 1.0])
def test_a_head_that_was_trained_further_stays_its_own(tmp_path: Path, types: tuple[str, str], change: float) -> None:
    """Taken for one table, the model would answer with another head."""
    checkpoint, _ = twice(tmp_path, types, change)
    assert not checkpoint.spec.tied_head
    assert np.abs(checkpoint.tensor("lm_head") - checkpoint.tensor("embed_tokens")).max() > 0
    assert checkpoint.notes == ()
