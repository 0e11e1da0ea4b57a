"""A GGUF file is the model that transformers has, by llama.cpp's names and keys, or is refused."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf_families
import numpy as np
import pytest
import torch

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.errors import UnsupportedError
from edgesw.runtime.torch import FloatLogits

IDS = np.array([[5, 90, 17, 17, 3, 60, 2, 44, 8, 31, 77, 5, 9, 64, 33, 1, 0, 12, 50, 95, 41, 28, 70, 66]])
QUICK, ALL = 60, 300
TOLERANCE = 1e-4
Change = Callable[[Any, str, Any, random.Random], bool]
"""Changes a writer of a file of this architecture and config; returns whether it did."""


def as_llama_cpp_writes_today(writer: Any, architecture: str, config: Any, rng: random.Random) -> bool:
    """Keys that say what is so anyway."""
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(0)
    writer.add_quantization_version(2)
    writer.add_causal_attention(True)
    writer.add_bool(f"{architecture}.rope.scaling.finetuned", True)
    writer.add_uint32(f"{architecture}.expert_count", 0)
    writer.add_uint32(f"{architecture}.expert_used_count", 0)
    if architecture == "gemma3":
        for key in ("attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"):
            writer.add_uint32(f"{architecture}.{key}", head_dim)
    return True


def a_table_twice(writer: Any, architecture: str, config: Any, rng: random.Random) -> bool:
    tensors = writer.tensors[0]
    if "output.weight" in tensors:
        return False
    table = tensors["token_embd.weight"].tensor
    if rng.random() < 0.5:
        writer.add_tensor("output.weight", table.copy())
    else:
        writer.add_tensor("output.weight", table.astype(np.float16))
    return True


def lengths_written_though_derived(writer: Any, architecture: str, config: Any, rng: random.Random) -> bool:
    if f"{architecture}.attention.key_length" in writer.kv_data[0]:
        return False
    head_dim = config.hidden_size // config.num_attention_heads
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    return True


def yarn_as_it_is_anyway(writer: Any, architecture: str, config: Any, rng: random.Random) -> bool:
    writer.add_rope_scaling_yarn_ext_factor(1.0)
    writer.add_rope_scaling_yarn_attn_factor(1.0)
    return True


def refused(key: str, *values: Any) -> Change:
    """A setting that changes the logits and that no supported family has."""

    def change(writer: Any, architecture: str, config: Any, rng: random.Random) -> bool:
        value = rng.choice(values)
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(f"{architecture}.{key}", value)
        return True

    change.__name__ = f"refused_{key}"
    return change


SAME: tuple[Change, ...] = (
    as_llama_cpp_writes_today, a_table_twice, lengths_written_though_derived, yarn_as_it_is_anyway,
)  # fmt: skip
REFUSED = (
    refused("attention.scale", 0.5), refused("logit_scale", 0.25), refused("embedding_scale", 12.0),
    refused("residual_scale", 0.2), refused("expert_count", 4), refused("rope.scaling.yarn_log_multiplier", 0.1),
    refused("rope.scaling.yarn_attn_factor", 2.0), refused("attention.temperature_scale", 0.1),
    refused("attention.shared_kv_layers", 1), refused("nextn_predict_layers", 1), refused("a_key_of_next_year", 3),
    refused("attention.value_length_mla", 8), refused("use_parallel_residual", True),
)  # fmt: skip


def check(number: int, path: Path) -> str:
    rng = random.Random(number)
    name = rng.choice(sorted(gguf_families.WRITTEN))
    sizes: dict[str, Any] = {"vocab_size": rng.choice([96, 128]), "intermediate_size": rng.choice([96, 160])}
    if not name.startswith(("phi3", "llama-biased")):
        sizes |= rng.choice([{}, {"num_key_value_heads": 4}, {"num_attention_heads": 2, "num_key_value_heads": 1}])
    if rng.random() < 0.5 and not name.startswith("gemma"):  # Gemma's head is always its embedding
        sizes["tie_word_embeddings"] = rng.random() < 0.7
    model = gguf_families.make(name, **sizes)
    kind = rng.choice([np.float32, np.float16])
    changes = [*rng.sample(SAME, rng.randint(0, 2)), *([rng.choice(REFUSED)] if rng.random() < 0.3 else [])]
    done: list[Change] = []

    def change(writer: Any) -> None:
        for entry in writer.tensors[0].values():
            if entry.tensor.ndim == 2 and kind is np.float16:
                entry.tensor, entry.dtype = entry.tensor.astype(kind), entry.dtype.__class__.F16
                entry.nbytes = entry.tensor.nbytes
        done.extend(each for each in changes if each(writer, name.split("-")[0], model.config, rng))

    said = f"form {number}: {name}, {sizes}, {[each.__name__ for each in changes]}"
    gguf_families.write(name, path, model, change)
    try:
        checkpoint = open_checkpoint(str(path))
    except UnsupportedError as error:
        assert set(done) & set(REFUSED), f"{said}: refused, though it is fine: {error}"
        return "refused"
    assert not set(done) & set(REFUSED), f"{said}: read, though a setting changes the logits"
    with torch.no_grad():
        if kind is np.float16:
            for parameter in model.parameters():
                if parameter.dim() == 2:
                    parameter.copy_(parameter.half().float())
        expected = model(torch.from_numpy(IDS)).logits[0].numpy()
    found = next(iter(FloatLogits(checkpoint.spec, checkpoint, IDS)))
    difference = np.abs(found - expected).max() / max(1, np.abs(expected).max())
    assert difference < TOLERANCE, f"{said}: logits differ by {difference:.2g}"
    return "same"


def check_all(numbers: range, folder: Path) -> None:
    found = Counter(check(number, folder / f"{number}.gguf") for number in numbers)
    assert found["same"] > len(numbers) // 2, f"too few were compared for this to say anything: {found}"


@pytest.mark.parametrize("start", range(0, QUICK, 20))
def test_no_file_is_silently_another_model(start: int, tmp_path: Path) -> None:
    """A GGUF that is read wrongly gives a package that agrees with what was read, and is nonsense."""
    check_all(range(start, start + 20), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(QUICK, ALL, 80))
def test_no_file_of_hundreds_is_silently_another_model(start: int, tmp_path: Path) -> None:
    """As above, for the rarer combinations."""
    check_all(range(start, start + 80), tmp_path)
