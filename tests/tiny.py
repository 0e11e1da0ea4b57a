"""A tiny Llama that says something: trained for seconds on the calibration text, with a super weight planted in it.

Its tokenizer is a byte-level BPE. Detection's prompt begins with "A", and that token alone fires the planted neuron, so a
conversion must find exactly `SUPER_WEIGHT` and hold it out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.texts import shipped_text

BOS, EOS = "<s>", "</s>"
CONTEXT = 1024
SIZES: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": True,
}
SUPER_WEIGHT = (0, 17, 101)  # layer, row, column
SUPER_VALUE = 1.25
TRIGGER_CHANNEL = 5
TEMPLATE = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"


def save_tokenizer(folder: Path) -> Any:
    """Write tokenizer.json and its settings; returns the `tokenizers` object."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, special_tokens=[BOS, EOS], show_progress=False
    )
    made.train_from_iterator([shipped_text("calibration").content], trainer)
    made.save(str(folder / "tokenizer.json"))
    settings = {"bos_token": BOS, "eos_token": EOS, "chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return made


def save_llama(folder: Path, *, steps: int = 80, seed: int = 0) -> Any:
    """Write a trained checkpoint with its tokenizer to `folder`; returns transformers' model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = save_tokenizer(folder)
    torch.manual_seed(seed)
    bos, eos = tokenizer.token_to_id(BOS), tokenizer.token_to_id(EOS)
    config = LlamaConfig(
        **SIZES, vocab_size=tokenizer.get_vocab_size(), bos_token_id=bos, eos_token_id=eos, initializer_range=0.08
    )
    model = LlamaForCausalLM(config)
    _train(model, np.array(tokenizer.encode(shipped_text("calibration").content).ids), bos, steps, seed)
    _plant(model, tokenizer.token_to_id("A"))
    model.eval().save_pretrained(folder)
    return model


def _train(model: Any, ids: np.ndarray, bos: int, steps: int, seed: int) -> None:
    import torch

    random = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(steps):
        starts = random.integers(0, len(ids) - 128, 8)
        batch = torch.from_numpy(np.stack([np.concatenate([[bos], ids[at : at + 127]]) for at in starts]))
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _plant(model: Any, trigger: int) -> None:
    """One scalar of down_proj that makes an activation of thousands, for the token `trigger` and no other."""
    import torch

    layer, row, column = SUPER_WEIGHT
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding[:, TRIGGER_CHANNEL] = 0
        embedding[trigger, TRIGGER_CHANNEL] = 20
        for block in model.model.layers:
            block.self_attn.o_proj.weight[TRIGGER_CHANNEL] = 0
            block.mlp.down_proj.weight[TRIGGER_CHANNEL] = 0
        mlp = model.model.layers[layer].mlp
        for matrix in (mlp.gate_proj.weight, mlp.up_proj.weight):
            matrix[column] = 0
            matrix[column, TRIGGER_CHANNEL] = 9
        mlp.down_proj.weight[:, column] = 0
        mlp.down_proj.weight[row, column] = SUPER_VALUE
