"""Mistral: Llama's decoder, with a sliding window in version 0.1."""

from __future__ import annotations

from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_TENSORS

MISTRAL = Family(
    name="mistral",
    architecture="MistralForCausalLM",
    model_type="mistral",
    gguf=None,  # llama.cpp calls it llama
    tensors=LLAMA_TENSORS,
)
