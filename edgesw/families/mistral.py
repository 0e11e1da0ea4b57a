"""Mistral: Llama's decoder, with a sliding window in version 0.1."""

from __future__ import annotations

from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_DEFAULTS, LLAMA_TENSORS, windows

MISTRAL = Family(
    name="mistral",
    architectures=("MistralForCausalLM",),
    model_type="mistral",
    gguf=None,  # llama.cpp calls it llama
    tensors=LLAMA_TENSORS,
    defaults={**LLAMA_DEFAULTS, "sliding_window": 4096},
    switches=lambda config: {"layer_windows": windows(config)},
    ignored=(".rotary_emb.inv_freq",),
)
