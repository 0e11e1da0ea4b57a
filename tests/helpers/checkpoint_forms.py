"""Tiny checkpoints in the forms that people have them in: random models, configs and files, by a number.

A form is a model of some family, a config.json written by some version of transformers or edited by hand, and tensors
with some names, types and files. Each change says whether the model is still meant to be read (`same`), must be refused
because two statements contradict each other or say what edgesw does not do (`refused`), or may be either.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from checkpoint_changes import CLASSES, CONFIG_CHANGES, LAYER_TYPES, REFUSED, TENSOR_CHANGES, Form
from safetensors.torch import save_file

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_ATTENTION_BIAS = ("llama", "smollm3", "qwen3", "olmo", "olmo2", "gemma2", "gemma3_text")


def make(number: int) -> Form:
    """The form of this number."""
    import transformers

    rng = random.Random(number)
    kind = rng.choice(sorted(CLASSES))
    settings = {**SIZES, **_settings(kind, rng)}
    name = "Gemma3TextConfig" if kind == "gemma3_text" else f"{CLASSES[kind]}Config"
    config = getattr(transformers, name)(**settings)
    torch.manual_seed(number)
    model = getattr(transformers, f"{CLASSES[kind]}ForCausalLM")(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand_like(parameter) - 0.5)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if config.tie_word_embeddings:
        del tensors["lm_head.weight"]
    values = json.loads(config.to_json_string(use_diff=False))
    values |= {"architectures": [f"{CLASSES[kind]}ForCausalLM"], "model_type": kind}
    form = Form(number, values, tensors, rng)
    changes = [*rng.sample(CONFIG_CHANGES, rng.randint(0, 3)), *rng.sample(TENSOR_CHANGES, rng.randint(0, 2))]
    if rng.random() < 0.25:
        changes.append(rng.choice(REFUSED))
    for change in changes:
        if change(form):
            form.changes.append(change.__name__)
    return form


def _settings(kind: str, rng: random.Random) -> dict[str, Any]:
    """Random settings of a family that transformers' own class takes."""
    found: dict[str, Any] = {"tie_word_embeddings": rng.random() < 0.4, "rope_parameters": _rope(kind, rng)}
    if kind == "gemma3_text":
        local = {"rope_type": "default", "rope_theta": rng.choice([1e4, 500.0])}
        found["rope_parameters"] = {"full_attention": _rope("llama", rng), "sliding_attention": local}
    if kind in _ATTENTION_BIAS:
        found["attention_bias"] = rng.random() < 0.3
    if kind in ("llama", "smollm3"):
        found["mlp_bias"] = rng.random() < 0.2
    if kind in ("mistral", "phi3", "gemma2", "gemma3_text"):
        found["sliding_window"] = rng.choice([7, 7, 64, None]) if kind in ("mistral", "phi3") else 7
    if kind in ("qwen2", "qwen3", "smollm3") and rng.random() < 0.5:
        found |= {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": rng.choice([0, 1, 2])}
        if kind == "smollm3":
            found.pop("max_window_layers")
    if kind in LAYER_TYPES and rng.random() < 0.4 and found.get("sliding_window"):
        found["layer_types"] = [rng.choice(["full_attention", "sliding_attention"]) for _ in range(2)]
    if kind == "smollm3":
        found |= rng.choice([{"no_rope_layer_interval": 2}, {"no_rope_layers": [0, 1]}, {}])
    if kind.startswith("gemma") or (kind in ("llama", "mistral", "qwen3", "qwen2") and rng.random() < 0.4):
        found["head_dim"] = 16
    if kind == "qwen3":
        found.setdefault("head_dim", 8)
    if kind == "olmo":
        found["clip_qkv"] = rng.choice([None, 0.5])
    if kind == "gemma2":
        found |= {"attn_logit_softcapping": rng.choice([None, 2.0]), "final_logit_softcapping": rng.choice([None, 3.0])}
    if kind.startswith("gemma"):
        found["query_pre_attn_scalar"] = rng.choice([16, 24])
    if kind == "phi3":
        found["original_max_position_embeddings"] = 32
        if found["rope_parameters"]["rope_type"] == "longrope" and rng.random() < 0.5:
            factors = {key: value[:3] for key, value in found["rope_parameters"].items() if key.endswith("_factor")}
            found["rope_parameters"] |= {**factors, "partial_rotary_factor": 0.75}
    return found


def _rope(kind: str, rng: random.Random) -> dict[str, Any]:
    theta = rng.choice([1e4, 5e5, 10000])
    if kind == "phi3":
        longrope = {"rope_type": "longrope", "short_factor": [1.0, 1.2, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
        return {"rope_theta": theta, **rng.choice([{"rope_type": "default"}, longrope])}
    yarn: dict[str, Any] = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
    choices: list[dict[str, Any]] = [
        {"rope_type": "default"},
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 32},
        yarn,
        {**yarn, "mscale": 1.0, "mscale_all_dim": 1.0},
        {**yarn, "mscale": 0.707, "mscale_all_dim": 0.5},
        {**yarn, "mscale": 2.0},
        {**yarn, "mscale_all_dim": 0.0, "mscale": 1.0},
        {**yarn, "attention_factor": 1.5},
        {**yarn, "beta_fast": 16.0, "beta_slow": 2.0, "truncate": False},
        {**yarn, "factor": None},
    ]  # fmt: skip
    return {"rope_theta": theta, **rng.choice(choices)}


def write(form: Form, folder: Path) -> None:
    """Writes the checkpoint's files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(form.config))
    for name, text in form.files.items():
        (folder / name).write_text(text)
    tensors = {name: tensor.contiguous() for name, tensor in form.tensors.items()}
    if form.shards == 1:
        save_file(tensors, folder / form.file)
    else:
        _write_shards(tensors, folder, form.shards, form.listed)
    if form.stale and form.shards == 1:
        _write_shards({name: torch.zeros_like(tensor) for name, tensor in tensors.items()}, folder, 2, True)


def _write_shards(tensors: dict[str, torch.Tensor], folder: Path, shards: int, listed: bool) -> None:
    names = sorted(tensors)
    places = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[shard::shards]
        save_file({name: tensors[name] for name in part}, folder / file)
        places |= dict.fromkeys(part if listed else part[1:], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
