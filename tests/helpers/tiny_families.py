"""Tiny random models of every family, made with transformers' own classes.

Each switch of a family is on in at least one of them, and windows, caps and contexts are so small that a short text
exceeds them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

PLAIN_SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
SIZES: dict[str, Any] = {
    **PLAIN_SIZES,
    "initializer_range": 0.2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
LLAMA3_ROPE = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 32,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 1.7, 2.0, 2.4], "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 12.0, 16.0],
}  # fmt: skip

# Name -> (transformers' class without "ForCausalLM" and "Config", what its config has besides SIZES).
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama-biased": ("Llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 32}),
    "llama-linear": ("Llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "llama-3": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-yarn": (
        "Llama",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0,
                             "original_max_position_embeddings": 32}},
    ),
    "mistral": ("Mistral", {"sliding_window": 7}),
    "smollm3": ("SmolLM3", {"num_hidden_layers": 4, "no_rope_layer_interval": 2}),
    "smollm3-sliding": ("SmolLM3", {"no_rope_layers": [1, 0], "use_sliding_window": True, "sliding_window": 7}),
    "qwen2": ("Qwen2", {}),
    "qwen2-sliding": ("Qwen2", {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
    "phi3": ("Phi3", {"sliding_window": 50}),
    "phi3-longrope": ("Phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 32}),
    "phi3-partial": (
        "Phi3",
        {"rope_parameters": {**LONGROPE, "partial_rotary_factor": 0.75, "short_factor": LONGROPE["short_factor"][:6],
                             "long_factor": LONGROPE["long_factor"][:6]},
         "original_max_position_embeddings": 32, "tie_word_embeddings": True},
    ),
    "olmo": ("Olmo", {"clip_qkv": 0.5}),
    "olmo2": ("Olmo2", {}),
    "gemma2": (
        "Gemma2",
        {"head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 7, "attn_logit_softcapping": 2.0,
         "final_logit_softcapping": 3.0},
    ),
    "gemma3": (
        "Gemma3",
        {"head_dim": 32, "query_pre_attn_scalar": 24, "sliding_window": 7, "layer_types":
         ["sliding_attention", "full_attention"], "rope_parameters": {
             "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
             "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    ),
}  # fmt: skip


def make(variant: str, **sizes: Any) -> Any:
    """transformers' model with random weights, including its norms and biases."""
    import torch
    import transformers

    name, settings = VARIANTS[variant]
    config = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
    torch.manual_seed(0)
    # torch's own attention has no soft caps: transformers would leave them out, with a warning.
    model = getattr(transformers, f"{name}ForCausalLM")(
        config(**{**SIZES, **settings, **sizes}, attn_implementation="eager")
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.rand_like(parameter) - 0.5)
    return model.eval()


def save(variant: str, folder: Path, **sizes: Any) -> Any:
    """Saves the model of `make` to `folder` as safetensors, and returns it."""
    model = make(variant, **sizes)
    model.save_pretrained(folder)
    return model
