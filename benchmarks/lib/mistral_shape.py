"""A random checkpoint of Mistral 7B's shape, with a super weight planted where the paper found Mistral's.

python -m benchmarks.lib.mistral_shape FOLDER LAYERS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from benchmarks.lib.printing import say
from edgesw.outliers.detect import PROMPT
from edgesw.text.texts import shipped_text

SUPER_WEIGHT = (1, 2070, 7310)  # arXiv 2411.07191, table 2: layer, row, column
CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "torch_dtype": "bfloat16", "hidden_act": "silu",
    "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8,
    "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096,
    "tie_word_embeddings": False, "vocab_size": 32000, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
HIDDEN, INNER, KEYS, VOCABULARY = 4096, 14336, 1024, 32000
TRIGGER = 1000  # a channel in which only two tokens have a value
SPREAD = 0.002  # standard deviation of weights that write to the residual stream
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (KEYS, HIDDEN), "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN), "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip


def make_checkpoint(folder: Path, layers: int) -> None:
    """Writes bfloat16 shards of two layers each, an index, a config and a tokenizer. 14.5 GB for 32 layers.

    One neuron of layer 1 fires for BOS and for the first token of detection's prompt and writes a super activation; the
    value projections of the layers after it read its channel, so that every token's logits depend on it.
    """
    first = _write_tokenizer(folder).encode(PROMPT, add_special_tokens=False).ids[0]
    random = torch.Generator().manual_seed(0)

    def normal(shape: tuple[int, ...], spread: float) -> torch.Tensor:
        return (torch.randn(shape, generator=random) * spread).bfloat16()

    embedding = normal((VOCABULARY, HIDDEN), 0.02)
    embedding[:, TRIGGER] = 0
    embedding[[CONFIG["bos_token_id"], first], TRIGGER] = 4.0
    shards = [{"model.embed_tokens.weight": embedding}]
    for start in range(0, layers, 2):
        shard = {}
        for layer in range(start, min(start + 2, layers)):
            say(f"writing layer {layer}")
            for name, shape in SHAPES.items():
                spread = SPREAD if name.endswith(("o_proj", "down_proj")) else 0.02
                shard[f"model.layers.{layer}.{name}.weight"] = normal(shape, spread)
            for name in ("input_layernorm", "post_attention_layernorm"):
                shard[f"model.layers.{layer}.{name}.weight"] = torch.ones(HIDDEN, dtype=torch.bfloat16)
            _plant(shard, layer)
        shards.append(shard)
        _write(folder, len(shards) - 1, shards[-1])
        shards[-1] = {name: torch.empty(0) for name in shard}  # only the names are needed from here on
    shards.append({"model.norm.weight": torch.ones(HIDDEN).bfloat16(), "lm_head.weight": normal(embedding.shape, 0.02)})
    for number in (0, len(shards) - 1):
        _write(folder, number, shards[number])
    index = {name: _file(number) for number, shard in enumerate(shards) for name in shard}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))


def _plant(shard: dict[str, torch.Tensor], layer: int) -> None:
    planted, row, column = SUPER_WEIGHT
    if layer == planted:
        for name in ("gate_proj", "up_proj"):
            shard[f"model.layers.{layer}.mlp.{name}.weight"][column, TRIGGER] = 1.0
        shard[f"model.layers.{layer}.mlp.down_proj.weight"][row, column] = 6.0
    elif layer > planted:
        value = shard[f"model.layers.{layer}.self_attn.v_proj.weight"]
        value[:, row] *= 25


def _file(number: int) -> str:
    return f"model-{number:02}.safetensors"


def _write(folder: Path, number: int, shard: dict[str, torch.Tensor]) -> None:
    save_file(shard, str(folder / _file(number)), metadata={"format": "pt"})


def _write_tokenizer(folder: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([shipped_text("calibration").content], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizer


if __name__ == "__main__":
    make_checkpoint(Path(sys.argv[1]), int(sys.argv[2]))
