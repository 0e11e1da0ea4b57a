"""The decoder, written once against `Ops`."""

from __future__ import annotations

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.decoder.ops import Ops, Tensor


def decoder_layer(ops: Ops[Tensor], layer: int, x: Tensor) -> Tensor:
    """One layer: attention and gated MLP, each behind a norm and added to the residual stream."""
    name = f"layers.{layer}"
    h = ops.norm(x, f"{name}.input_layernorm")
    query, key, value = (ops.linear(h, f"{name}.{kind}_proj") for kind in "qkv")
    x = ops.add(x, ops.linear(ops.attention(layer, query, key, value), f"{name}.o_proj"))
    h = ops.norm(x, f"{name}.post_attention_layernorm")
    h = ops.gated(ops.linear(h, f"{name}.gate_proj"), ops.linear(h, f"{name}.up_proj"))
    return ops.add(x, ops.linear(h, f"{name}.down_proj"))


def decoder_head(ops: Ops[Tensor], x: Tensor) -> Tensor:
    """Final norm and output head: the residual stream -> logits (..., vocabulary)."""
    return ops.linear(ops.norm(x, "norm"), "lm_head")


def decoder(ops: Ops[Tensor], spec: DecoderSpec) -> Tensor:
    """The whole decoder, from the token ids that `ops` was made for to the logits."""
    x = ops.embedding("embed_tokens")
    for layer in range(spec.layers):
        x = decoder_layer(ops, layer, x)
    return decoder_head(ops, x)
