"""Phi-3, Phi-3.5 and Phi-4-mini: fused matrices, LongRoPE, partial rotation."""

from __future__ import annotations

from edgesw.families.family import Family, Stored
from edgesw.families.shared import NORMS, OUTER, layer_tensor


def _fused(hf: str, gguf: str, *parts: str) -> dict[str, Stored]:
    """The entries of matrices that the file stores as a single tensor."""
    return {f"layers.{{layer}}.{part}": layer_tensor(f"{hf}.weight", f"{gguf}.weight", fused=parts) for part in parts}


PHI3 = Family(
    name="phi3",
    architecture="Phi3ForCausalLM",
    model_type="phi3",
    gguf="phi3",
    tensors={
        **OUTER,
        **NORMS,
        **_fused("self_attn.qkv_proj", "attn_qkv", "q_proj", "k_proj", "v_proj"),
        **_fused("mlp.gate_up_proj", "ffn_up", "gate_proj", "up_proj"),
        "layers.{layer}.o_proj": layer_tensor("self_attn.o_proj.weight", "attn_output.weight"),
        "layers.{layer}.down_proj": layer_tensor("mlp.down_proj.weight", "ffn_down.weight"),
    },
    partial_rotary=True,
    ignored=("rope_factors_long.weight", "rope_factors_short.weight"),
)
