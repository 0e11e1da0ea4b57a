"""SmolLM3: some layers have no position embedding."""

from __future__ import annotations

from typing import Any

from edgesw.families.config import Config
from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_DEFAULTS, LLAMA_TENSORS, biased, windows


def _smollm3(config: Config) -> dict[str, Any]:
    """Layers without RoPE are those with a 0 in `no_rope_layers`, or every fourth; only they may have a window."""
    layers, every = config.layers(), config.size("no_rope_layer_interval")
    rotated = config.layer_list("no_rope_layers", layers) or [(layer + 1) % every != 0 for layer in range(layers)]
    sliding = config.flag("use_sliding_window", False)
    return {
        "biased": biased(config),
        "layer_rotary": tuple(0 if rotates else None for rotates in rotated),
        "layer_windows": windows(config, lambda layer: not rotated[layer]) if sliding else (None,) * layers,
    }


SMOLLM3 = Family(
    name="smollm3",
    architectures=("SmolLM3ForCausalLM",),
    model_type="smollm3",
    gguf="smollm3",
    tensors=LLAMA_TENSORS,
    defaults={
        **LLAMA_DEFAULTS,
        "rope_theta": 2e6,
        "no_rope_layer_interval": 4,
        "tie_word_embeddings": True,
        "bos_token_id": 128000,
        "eos_token_id": 128001,
    },
    switches=_smollm3,
)
