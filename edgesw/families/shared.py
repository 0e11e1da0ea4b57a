"""Tables of tensors that entries of several families share."""

from __future__ import annotations

from typing import Any

from edgesw.families.family import Stored


def layer_tensor(hf: str, gguf: str, **more: Any) -> Stored:
    """A tensor of a layer, named without the layer's prefix."""
    return Stored(f"model.layers.{{layer}}.{hf}", f"blk.{{layer}}.{gguf}", **more)


OUTER = {
    "embed_tokens": Stored("model.embed_tokens.weight", "token_embd.weight"),
    "norm": Stored("model.norm.weight", "output_norm.weight"),
    "lm_head": Stored("lm_head.weight", "output.weight"),
}
"""The tensors outside the layers."""
NORMS = {
    "layers.{layer}.attention_norm": layer_tensor("input_layernorm.weight", "attn_norm.weight"),
    "layers.{layer}.mlp_norm": layer_tensor("post_attention_layernorm.weight", "ffn_norm.weight"),
}
"""Norms before attention and MLP."""
OUTPUT_NORMS = {
    "layers.{layer}.attention_output_norm": layer_tensor(
        "post_attention_layernorm.weight", "post_attention_norm.weight"
    ),
    "layers.{layer}.mlp_output_norm": layer_tensor("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
}
"""Norms after attention and MLP."""
QK_NORMS = {
    f"layers.{{layer}}.{x}_norm": layer_tensor(f"self_attn.{x}_norm.weight", f"attn_{x}_norm.weight") for x in "qk"
}
"""Norms of queries and keys."""


def matrices(*, interleaved: bool) -> dict[str, Stored]:
    """The matrices and biases of a layer; `interleaved` where the GGUF architecture interleaves the rows of q and k."""
    kinds = {f"{x}_proj": (f"self_attn.{x}_proj", f"attn_{x}", interleaved and x in "qk") for x in "qkv"}
    kinds["o_proj"] = ("self_attn.o_proj", "attn_output", False)
    kinds |= {f"{x}_proj": (f"mlp.{x}_proj", f"ffn_{x}", False) for x in ("gate", "up", "down")}
    found = {}
    for kind, (hf, gguf, alternate) in kinds.items():
        for canonical, end in ((kind, "weight"), (f"{kind}.bias", "bias")):
            found[f"layers.{{layer}}.{canonical}"] = layer_tensor(
                f"{hf}.{end}", f"{gguf}.{end}", gguf_interleaved=alternate
            )
    return found


LLAMA_TENSORS = {**OUTER, **NORMS, **matrices(interleaved=True)}
