"""The tiny models of tiny_families as GGUF files, by the conventions of llama.cpp's conversion.

Names come from the gguf package's own table. As in llama.cpp, q and k are permuted and norms have 1 added in the
architectures that need it, and what its conversion leaves out is left out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tiny_families
from tiny_models import interleave, state

INTERLEAVED = ("llama", "olmo", "smollm3")

# Name -> (variant of tiny_families, changes: what a GGUF cannot express has llama.cpp's value).
WRITTEN: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama-tied": ("llama", {"tie_word_embeddings": True}),
    "llama-biased": ("llama-biased", {}),
    "llama-linear": ("llama-linear", {}),
    "llama-3": ("llama-3", {}),
    "llama-yarn": ("llama-yarn", {}),
    "smollm3": ("smollm3", {"no_rope_layer_interval": 4}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {"tie_word_embeddings": True}),
    "phi3": ("phi3", {"sliding_window": None}),
    "phi3-longrope": ("phi3-longrope", {"sliding_window": None}),
    "phi3-partial": ("phi3-partial", {"sliding_window": None}),
    "olmo": ("olmo", {}),
    "olmo2": ("olmo2", {}),
    "gemma2": ("gemma2", {"query_pre_attn_scalar": 32}),
    "gemma3": (
        "gemma3",
        {
            "query_pre_attn_scalar": 32,
            "num_hidden_layers": 6,
            "layer_types": [*["sliding_attention"] * 5, "full_attention"],
            "final_logit_softcapping": 3.0,
        },
    ),
}


def make(name: str, **sizes: Any) -> Any:
    variant, settings = WRITTEN[name]
    return tiny_families.make(variant, **{**settings, **sizes})


def write(name: str, path: Path, model: Any, change: Any = None) -> Path:
    """Writes the model as llama.cpp's conversion does, in float32, with a dummy tokenizer."""
    import gguf

    architecture, config = name.split("-")[0], model.config
    writer = gguf.GGUFWriter(path, architecture)
    _settings(writer, architecture, config)
    names = gguf.get_tensor_name_map(
        next(key for key, said in gguf.MODEL_ARCH_NAMES.items() if said == architecture), config.num_hidden_layers
    )
    for hf, tensor in state(model).items():
        if hf == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if hf.endswith("norm.weight") and architecture.startswith("gemma"):
            tensor = tensor + 1
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(hf.split(".")[-2])
        if heads and architecture in INTERLEAVED:
            tensor = interleave(tensor, heads)
        # A norm stays a norm when it is written by the mapping's name alone, `.weight` or `.bias` kept.
        written = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        assert written is not None, hf
        writer.add_tensor(written, np.ascontiguousarray(tensor))
    for written, factors in _factors(config).items():
        writer.add_tensor(written, np.array(factors, np.float32))
    if change is not None:
        change(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _settings(writer: Any, architecture: str, config: Any) -> None:
    import gguf

    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if head_dim != config.hidden_size // config.num_attention_heads:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
    if architecture in ("llama", "smollm3", "phi3"):
        partial = config.rope_parameters.get("partial_rotary_factor", 1.0)
        writer.add_rope_dimension_count(int(partial * head_dim))
    if architecture == "olmo":
        writer.add_layer_norm_eps(1e-5)
        writer.add_clamp_kqv(config.clip_qkv)
    else:
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    if architecture != "gemma2":
        writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] in ("yarn", "longrope"):
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if rope["rope_type"] == "longrope":
        original = rope["original_max_position_embeddings"]
        stretched = math.log(config.max_position_embeddings / original) / math.log(original)
        writer.add_rope_scaling_attn_factors(math.sqrt(1 + stretched))
    if architecture.startswith("gemma"):
        if config.sliding_window is not None:
            writer.add_sliding_window(config.sliding_window)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
    if architecture == "phi3":
        writer.add_sliding_window(config.sliding_window or 0)
    tokens = ["<unk>", "<s>", "</s>", "<0x0A>", *(f"t{number}" for number in range(4, config.vocab_size))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 6, *[1] * (len(tokens) - 4)])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def _factors(config: Any) -> dict[str, list[float]]:
    """Divisors of the frequencies: for Llama 3 those that transformers uses, for LongRoPE its lists."""
    rope = config.rope_parameters
    if rope.get("rope_type") == "longrope":
        kinds = {"long": rope["long_factor"], "short": rope["short_factor"]}
        return {f"rope_factors_{kind}.weight": factors for kind, factors in kinds.items()}
    if rope.get("rope_type") != "llama3":
        return {}
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")[0].numpy()
    plain = rope["rope_theta"] ** -(np.arange(len(scaled)) / len(scaled))
    return {"rope_freqs.weight": (plain / scaled).tolist()}
