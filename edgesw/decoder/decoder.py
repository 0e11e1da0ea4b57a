"""The decoder, written once against `Ops`."""

from __future__ import annotations

from edgesw.decoder.names import TensorName
from edgesw.decoder.ops import Ops, Tensor


def decoder_layer(ops: Ops[Tensor], layer: int, x: Tensor) -> Tensor:
    """One layer: attention and gated MLP, each with a norm before or after it or both, added to the residual stream."""
    spec = ops.spec

    def named(kind: str) -> str:
        return str(TensorName(layer, kind))

    h = ops.norm(x, named("attention_norm")) if spec.norm_before else x
    parts = ops.linears(h, [named(f"{kind}_proj") for kind in "qkv"])
    if spec.clip_qkv is not None:
        parts = tuple(ops.clip(part, spec.clip_qkv) for part in parts)
    if spec.qk_norm != "none":
        query, key, value = parts
        norm = ops.norm if spec.qk_norm == "whole" else ops.head_norm
        parts = norm(query, named("q_norm")), norm(key, named("k_norm")), value
    h = ops.linear(ops.attention(layer, parts), named("o_proj"))
    x = ops.add(x, ops.norm(h, named("attention_output_norm")) if spec.norm_after else h)
    h = ops.norm(x, named("mlp_norm")) if spec.norm_before else x
    h = ops.gated(ops.linears(h, [named("gate_proj"), named("up_proj")]))
    h = ops.linear(h, named("down_proj"))
    return ops.add(x, ops.norm(h, named("mlp_output_norm")) if spec.norm_after else h)


def decoder_head(ops: Ops[Tensor], x: Tensor) -> Tensor:
    """Final norm and output head: the residual stream -> logits (..., vocabulary)."""
    logits = ops.linear(ops.norm(x, "norm"), "lm_head")
    return logits if ops.spec.logit_softcap is None else ops.softcap(logits, ops.spec.logit_softcap)


def decoder(ops: Ops[Tensor]) -> Tensor:
    """The whole decoder: token ids, which `ops` holds, -> logits."""
    return decoder_part(ops, range(ops.spec.layers), None)


def decoder_part(ops: Ops[Tensor], layers: range, x: Tensor | None) -> Tensor:
    """Some of the layers: the residual stream `x` before them -> the stream after them, or the logits for the last
    layers. `x` is None for the first layers, which begin at the token ids."""
    x = ops.embedding("embed_tokens") if x is None else x
    for layer in layers:
        x = decoder_layer(ops, layer, x)
    return decoder_head(ops, x) if layers.stop == ops.spec.layers else x
