"""Llama 1 to 3.x, SmolLM 1 and 2, and the many models that use the same architecture."""

from __future__ import annotations

from edgesw.families.family import Family
from edgesw.families.shared import LLAMA_DEFAULTS, LLAMA_TENSORS, biased

LLAMA = Family(
    name="llama",
    architectures=("LlamaForCausalLM",),
    model_type="llama",
    gguf="llama",
    tensors=LLAMA_TENSORS,
    defaults=LLAMA_DEFAULTS,
    switches=lambda config: {"biased": biased(config)},
    # A buffer that old versions of transformers saved, and frequency divisors, which are read with the config.
    ignored=(".rotary_emb.inv_freq", "rope_freqs.weight"),
)
