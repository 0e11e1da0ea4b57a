"""Llama 1 to 3.x, SmolLM 1 and 2, and the many models that use the same architecture."""

from __future__ import annotations

from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_TENSORS
from edgesw.families.switches import biased

LLAMA = Family(
    name="llama",
    architecture="LlamaForCausalLM",
    model_type="llama",
    gguf="llama",
    tensors=LLAMA_TENSORS,
    switches=lambda config: {"biased": biased(config)},
    ignored=("rope_freqs.weight",),  # frequency divisors, which are read with the config
)
