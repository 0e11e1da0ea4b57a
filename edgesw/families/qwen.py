"""Qwen2, Qwen2.5 and Qwen3."""

from __future__ import annotations

from edgesw.families.family import Family
from edgesw.families.shared import NORMS, OUTER, QK_NORMS, matrices
from edgesw.families.switches import biased

_TENSORS = {**OUTER, **NORMS, **QK_NORMS, **matrices(interleaved=False)}

QWEN2 = Family(
    name="qwen2",
    architecture="Qwen2ForCausalLM",
    model_type="qwen2",
    gguf="qwen2",
    tensors=_TENSORS,
    switches=lambda config: {"biased": ("q_proj", "k_proj", "v_proj")},
)

QWEN3 = Family(
    name="qwen3",
    architecture="Qwen3ForCausalLM",
    model_type="qwen3",
    gguf="qwen3",
    tensors=_TENSORS,
    switches=lambda config: {"biased": biased(config), "qk_norm": "head"},
)
