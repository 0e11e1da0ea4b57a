"""Every model family edgesw knows: one entry each, and nothing about a family anywhere else.

An entry says how the family's config becomes a DecoderSpec and what its tensors are called. To add one, write a
function from Config to DecoderSpec and append a Family to FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgesw.checkpoint.config import Config
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.errors import UsageError


@dataclass(frozen=True)
class Stored:
    """Where a tensor is kept. `{layer}` in a name stands for the layer's number."""

    hf: str
    gguf: str
    gguf_interleaved: bool = False
    """GGUF rows alternate between the two rotary halves of each head; they are put back as Hugging Face has them."""


@dataclass(frozen=True)
class Family:
    """One family of decoders."""

    name: str
    architectures: tuple[str, ...]
    """What `architectures` in config.json may say; the first is written for a GGUF."""
    model_type: str
    gguf: str | None
    """`general.architecture` of GGUF files, None where another family reads them."""
    spec: Callable[[Config], DecoderSpec]
    tensors: Mapping[str, Stored]
    """Canonical name -> where it is kept. `lm_head` is left out when the head is tied."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What transformers takes for keys that config.json leaves out."""
    ignored: tuple[str, ...] = ()
    """Ends of the names of tensors that a file may hold and nobody needs."""


def family_of(config: Mapping[str, Any], where: str) -> Family:
    """The family of a config.json. UsageError lists the supported architectures for one we do not know."""
    named = config.get("architectures")
    named = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    for family in FAMILIES:
        if set(named) & set(family.architectures):
            return family
    known = ", ".join(name for family in FAMILIES for name in family.architectures)
    said = f"architecture {', '.join(named)} is not supported" if named else "no 'architectures' in it"
    raise UsageError(f"{where}: {said}. Supported: {known}.")


def family_of_gguf(architecture: object, where: str) -> Family:
    """The family of a GGUF file. UsageError lists the supported architectures for one we do not know."""
    for family in FAMILIES:
        if family.gguf is not None and family.gguf == architecture:
            return family
    known = ", ".join(family.gguf for family in FAMILIES if family.gguf)
    raise UsageError(f"{where}: GGUF architecture '{architecture}' is not supported. Supported: {known}.")


# --- Llama, and what others share with it ----------------------------------------------------------------------------

_LLAMA_TENSORS = {
    "embed_tokens": Stored("model.embed_tokens.weight", "token_embd.weight"),
    "layers.{layer}.input_layernorm": Stored(
        "model.layers.{layer}.input_layernorm.weight", "blk.{layer}.attn_norm.weight"
    ),
    "layers.{layer}.q_proj": Stored("model.layers.{layer}.self_attn.q_proj.weight", "blk.{layer}.attn_q.weight", True),
    "layers.{layer}.k_proj": Stored("model.layers.{layer}.self_attn.k_proj.weight", "blk.{layer}.attn_k.weight", True),
    "layers.{layer}.v_proj": Stored("model.layers.{layer}.self_attn.v_proj.weight", "blk.{layer}.attn_v.weight"),
    "layers.{layer}.o_proj": Stored("model.layers.{layer}.self_attn.o_proj.weight", "blk.{layer}.attn_output.weight"),
    "layers.{layer}.post_attention_layernorm": Stored(
        "model.layers.{layer}.post_attention_layernorm.weight", "blk.{layer}.ffn_norm.weight"
    ),
    "layers.{layer}.gate_proj": Stored("model.layers.{layer}.mlp.gate_proj.weight", "blk.{layer}.ffn_gate.weight"),
    "layers.{layer}.up_proj": Stored("model.layers.{layer}.mlp.up_proj.weight", "blk.{layer}.ffn_up.weight"),
    "layers.{layer}.down_proj": Stored("model.layers.{layer}.mlp.down_proj.weight", "blk.{layer}.ffn_down.weight"),
    "norm": Stored("model.norm.weight", "output_norm.weight"),
    "lm_head": Stored("lm_head.weight", "output.weight"),
}

_LLAMA_DEFAULTS = {
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _llama(config: Config, family: str = "llama") -> DecoderSpec:
    for key, allowed in {
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "partial_rotary_factor": 1.0,
        "quantization_config": None,
    }.items():
        config.only(key, allowed)
    heads = config.size("num_attention_heads")
    kv_heads = config.size("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise config.wrong("num_attention_heads", f"must be a multiple of 'num_key_value_heads', {kv_heads}")
    head_dim = config.size("head_dim", default=0) or config.divides("num_attention_heads", "hidden_size")
    if head_dim % 2:
        raise config.wrong("head_dim", "must be even: rotary embeddings turn pairs of channels")
    return DecoderSpec(
        family=family,
        layers=config.size("num_hidden_layers", limit=1000),
        hidden_size=config.size("hidden_size"),
        intermediate_size=config.size("intermediate_size"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=config.size("vocab_size"),
        max_positions=config.size("max_position_embeddings"),
        norm_eps=config.number("rms_norm_eps"),
        rope_theta=config.rope_theta(),
        tied_head=config.flag("tie_word_embeddings"),
        bos_token_id=config.token_id("bos_token_id"),
        eos_token_ids=config.token_ids("eos_token_id"),
    )


# --- Mistral ---------------------------------------------------------------------------------------------------------


def _mistral(config: Config) -> DecoderSpec:
    spec = _llama(config, "mistral")
    # Up to the window's length attention is whole and this is Llama; the decoder ends where the window would slide.
    window = config.size("sliding_window", default=spec.max_positions)
    return replace(spec, max_positions=min(spec.max_positions, window))


FAMILIES: tuple[Family, ...] = (
    Family(
        name="llama",
        architectures=("LlamaForCausalLM",),
        model_type="llama",
        gguf="llama",
        spec=_llama,
        tensors=_LLAMA_TENSORS,
        defaults=_LLAMA_DEFAULTS,
        ignored=(".rotary_emb.inv_freq",),  # a buffer that old versions of transformers saved
    ),
    Family(
        name="mistral",
        architectures=("MistralForCausalLM",),
        model_type="mistral",
        gguf=None,  # llama.cpp calls it llama
        spec=_mistral,
        tensors=_LLAMA_TENSORS,
        defaults={**_LLAMA_DEFAULTS, "sliding_window": 4096},
        ignored=(".rotary_emb.inv_freq",),
    ),
)
