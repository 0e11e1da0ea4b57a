"""Every model family edgesw knows: one entry each, and nothing about a family anywhere else.

An entry says how the family's config becomes a DecoderSpec and what its tensors are called. To add one, write a
function from Config to DecoderSpec and append a Family to FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UnsupportedError, UsageError
from edgesw.families.config import Config
from edgesw.families.family import Family, GgufValue, Stored
from edgesw.families.rope import rotary


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


def _stored(hf: str, gguf: str, **more: Any) -> Stored:
    """A tensor of a layer."""
    return Stored(f"model.layers.{{layer}}.{hf}", f"blk.{{layer}}.{gguf}", **more)


_OUTER = {
    "embed_tokens": Stored("model.embed_tokens.weight", "token_embd.weight"),
    "norm": Stored("model.norm.weight", "output_norm.weight"),
    "lm_head": Stored("lm_head.weight", "output.weight"),
}
_NORMS = {
    "layers.{layer}.attention_norm": _stored("input_layernorm.weight", "attn_norm.weight"),
    "layers.{layer}.mlp_norm": _stored("post_attention_layernorm.weight", "ffn_norm.weight"),
}
_QK_NORMS = {f"layers.{{layer}}.{x}_norm": _stored(f"self_attn.{x}_norm.weight", f"attn_{x}_norm.weight") for x in "qk"}
_NORMS_AFTER = {
    "layers.{layer}.attention_output_norm": _stored("post_attention_layernorm.weight", "post_attention_norm.weight"),
    "layers.{layer}.mlp_output_norm": _stored("post_feedforward_layernorm.weight", "post_ffw_norm.weight"),
}


def _matrices(*, interleaved: bool) -> dict[str, Stored]:
    """Matrices and biases of a layer. Of the GGUF architectures some interleave the rows of q and k."""
    kinds = {f"{x}_proj": (f"self_attn.{x}_proj", f"attn_{x}", interleaved and x in "qk") for x in "qkv"}
    kinds["o_proj"] = ("self_attn.o_proj", "attn_output", False)
    kinds |= {f"{x}_proj": (f"mlp.{x}_proj", f"ffn_{x}", False) for x in ("gate", "up", "down")}
    found = {}
    for kind, (hf, gguf, alternate) in kinds.items():
        for canonical, end in ((kind, "weight"), (f"{kind}.bias", "bias")):
            found[f"layers.{{layer}}.{canonical}"] = _stored(f"{hf}.{end}", f"{gguf}.{end}", gguf_interleaved=alternate)
    return found


_LLAMA_TENSORS = {**_OUTER, **_NORMS, **_matrices(interleaved=True)}
_QWEN_TENSORS = {**_OUTER, **_NORMS, **_QK_NORMS, **_matrices(interleaved=False)}

_LLAMA_DEFAULTS = {
    "hidden_act": "silu",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_MLP = ("gate_proj", "up_proj", "down_proj")


def _decoder(config: Config, family: str, *, rms_eps: bool = True, **switches: Any) -> DecoderSpec:
    """What all families' configs have in common. `switches` are fields of DecoderSpec."""
    config.only("quantization_config", None)
    if "activation" not in switches:
        config.only("hidden_act", "silu")
    layers = config.size("num_hidden_layers", limit=1000)
    heads = config.size("num_attention_heads")
    kv_heads = config.size("num_key_value_heads", default=heads)
    if heads % kv_heads:
        raise config.wrong("num_attention_heads", f"must be a multiple of 'num_key_value_heads', {kv_heads}")
    head_dim = config.size("head_dim", default=0) or config.divides("num_attention_heads", "hidden_size")
    if head_dim % 2:
        raise config.wrong("head_dim", "must be even: rotary embeddings turn pairs of channels")
    if "rotaries" not in switches:
        switches["rotaries"] = (rotary(config, head_dim),)
    return DecoderSpec(
        **{
            "family": family,
            "layers": layers,
            "hidden_size": config.size("hidden_size"),
            "intermediate_size": config.size("intermediate_size"),
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "vocab_size": config.size("vocab_size"),
            "max_positions": config.size("max_position_embeddings"),
            "norm_eps": config.number("rms_norm_eps") if rms_eps else 1e-5,
            "tied_head": config.flag("tie_word_embeddings"),
            "bos_token_id": config.token_id("bos_token_id"),
            "eos_token_ids": config.token_ids("eos_token_id"),
            "layer_rotary": (0,) * layers,
            "layer_windows": (None,) * layers,
            **switches,
        }
    )


def _biased(config: Config) -> tuple[str, ...]:
    """The matrices that `attention_bias` and `mlp_bias` give biases to."""
    return (
        *(_ATTENTION if config.flag("attention_bias", False) else ()),
        *(_MLP if config.flag("mlp_bias", False) else ()),
    )


def _windows(config: Config, layers: int, sliding: Callable[[int], bool]) -> tuple[int | None, ...]:
    """The window of each layer: `sliding_window` for those of `layer_types` "sliding_attention", or that `sliding`."""
    if config.absent("sliding_window"):
        return (None,) * layers
    window = config.size("sliding_window")
    kinds = config.layer_list("layer_types", layers)
    slides = [sliding(layer) for layer in range(layers)] if kinds is None else [k == "sliding_attention" for k in kinds]
    return tuple(window if slide else None for slide in slides)


def _llama(config: Config) -> DecoderSpec:
    return _decoder(config, "llama", biased=_biased(config))


def _windowed(family: str) -> Callable[[Config], DecoderSpec]:
    """Llama's decoder with the window, where there is one, in every layer."""

    def spec(config: Config) -> DecoderSpec:
        whole = _decoder(config, family)
        return replace(whole, layer_windows=_windows(config, whole.layers, lambda layer: True))

    return spec


def _smollm3(config: Config) -> DecoderSpec:
    """Some layers have no position embedding: those with 0 in `no_rope_layers`, or every fourth."""
    spec = _decoder(config, "smollm3", biased=_biased(config))
    every = config.size("no_rope_layer_interval")
    rotated = config.layer_list("no_rope_layers", spec.layers) or [(i + 1) % every != 0 for i in range(spec.layers)]
    if config.flag("use_sliding_window", False):
        spec = replace(spec, layer_windows=_windows(config, spec.layers, lambda layer: not rotated[layer]))
    return replace(spec, layer_rotary=tuple(0 if turned else None for turned in rotated))


def _qwen(config: Config, family: str, **switches: Any) -> DecoderSpec:
    spec = _decoder(config, family, **switches)
    if not config.flag("use_sliding_window", False):
        return spec
    first = config.size("max_window_layers", default=28)
    return replace(spec, layer_windows=_windows(config, spec.layers, lambda layer: layer >= first))


def _qwen2(config: Config) -> DecoderSpec:
    return _qwen(config, "qwen2", biased=("q_proj", "k_proj", "v_proj"))


def _qwen3(config: Config) -> DecoderSpec:
    return _qwen(config, "qwen3", biased=_biased(config), qk_norm="head")


# --- Phi-3 -----------------------------------------------------------------------------------------------------------


def _fused(hf: str, gguf: str, *parts: str) -> dict[str, Stored]:
    return {f"layers.{{layer}}.{part}": _stored(f"{hf}.weight", f"{gguf}.weight", fused=parts) for part in parts}


_PHI3_TENSORS = {
    **_OUTER,
    **_NORMS,
    **_fused("self_attn.qkv_proj", "attn_qkv", "q_proj", "k_proj", "v_proj"),
    **_fused("mlp.gate_up_proj", "ffn_up", "gate_proj", "up_proj"),
    "layers.{layer}.o_proj": _stored("self_attn.o_proj.weight", "attn_output.weight"),
    "layers.{layer}.down_proj": _stored("mlp.down_proj.weight", "ffn_down.weight"),
}


# --- OLMo ------------------------------------------------------------------------------------------------------------


def _olmo(config: Config) -> DecoderSpec:
    clip = config.optional_number("clip_qkv")
    return _decoder(config, "olmo", rms_eps=False, norm="layer", clip_qkv=clip, biased=_biased(config))


def _olmo2(config: Config) -> DecoderSpec:
    return _decoder(config, "olmo2", norm_before=False, norm_after=True, qk_norm="whole", biased=_biased(config))


def _olmo2_gguf(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
    if config.get("sliding_window"):
        raise UnsupportedError("an OLMo-2 with sliding windows (OLMo-3) is not supported: take another model.")
    return {}


# --- Gemma -----------------------------------------------------------------------------------------------------------


def _gemma(config: Config, family: str, **switches: Any) -> DecoderSpec:
    config.only("hidden_activation", "gelu_pytorch_tanh")
    config.only("use_bidirectional_attention", False)
    return _decoder(
        config,
        family,
        norm_after=True,
        activation="gelu_tanh",
        embedding_scale=config.size("hidden_size") ** 0.5,
        attention_scale=config.number("query_pre_attn_scalar") ** -0.5,
        attention_softcap=config.optional_number("attn_logit_softcapping"),
        logit_softcap=config.optional_number("final_logit_softcapping"),
        biased=_biased(config),
        **switches,
    )


def _gemma2(config: Config) -> DecoderSpec:
    spec = _gemma(config, "gemma2")
    return replace(spec, layer_windows=_windows(config, spec.layers, lambda layer: layer % 2 == 0))


def _gemma3(config: Config) -> DecoderSpec:
    """Layers with a window have a position embedding of their own."""
    config.only("attn_logit_softcapping", None)
    head_dim = config.size("head_dim")
    rotaries = tuple(rotary(config, head_dim, kind) for kind in ("full_attention", "sliding_attention"))
    spec = _gemma(config, "gemma3", qk_norm="head", rotaries=rotaries)
    every = config.size("sliding_window_pattern", default=6)
    windows = _windows(config, spec.layers, lambda layer: (layer + 1) % every != 0)
    return replace(spec, layer_windows=windows, layer_rotary=tuple(int(window is not None) for window in windows))


def _gemma_gguf(layers_of_27b: int) -> Callable[[dict[str, Any], GgufValue], dict[str, Any]]:
    """The 27B models scale scores by hidden_size / heads, the others by head_dim. No file says so: llama.cpp knows them
    by their number of layers (src/models/gemma2.cpp, gemma3.cpp)."""

    def settings(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
        hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
        found: dict[str, Any] = {"query_pre_attn_scalar": config.get("head_dim")}
        if config.get("num_hidden_layers") == layers_of_27b and type(hidden) is type(heads) is int and heads > 0:
            found["query_pre_attn_scalar"] = hidden / heads
        if isinstance(pattern := value("attention.sliding_window_pattern"), list):
            found["layer_types"] = ["sliding_attention" if slides else "full_attention" for slides in pattern]
        elif pattern is not None:
            found["sliding_window_pattern"] = pattern
        return found

    return settings


def _gemma3_gguf(config: dict[str, Any], value: GgufValue) -> dict[str, Any]:
    """Layers with a window have a theta of their own, which files may leave out, and so they may the window itself."""
    sliding = {"rope_type": "default", "rope_theta": value("rope.freq_base_swa") or 10000.0}
    return {
        **_gemma_gguf(62)(config, value),
        "sliding_window": config.get("sliding_window"),
        "rope_parameters": {"full_attention": config["rope_parameters"], "sliding_attention": sliding},
    }


_GEMMA_TENSORS = {
    name: replace(stored, hf_less=1.0) if name.endswith("norm") else stored
    for name, stored in {
        **_OUTER,
        **_NORMS,
        **_QK_NORMS,
        **_NORMS_AFTER,
        "layers.{layer}.mlp_norm": _stored("pre_feedforward_layernorm.weight", "ffn_norm.weight"),
        **_matrices(interleaved=False),
    }.items()
}
_GEMMA_DEFAULTS = {
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "tie_word_embeddings": True,
    "sliding_window": 4096,
    "bos_token_id": 2,
    "eos_token_id": 1,
}


FAMILIES: tuple[Family, ...] = (
    Family(
        name="llama",
        architectures=("LlamaForCausalLM",),
        model_type="llama",
        gguf="llama",
        spec=_llama,
        tensors=_LLAMA_TENSORS,
        defaults=_LLAMA_DEFAULTS,
        # A buffer that old versions of transformers saved, and divisors that are read with the config.
        ignored=(".rotary_emb.inv_freq", "rope_freqs.weight"),
    ),
    Family(
        name="mistral",
        architectures=("MistralForCausalLM",),
        model_type="mistral",
        gguf=None,  # llama.cpp calls it llama
        spec=_windowed("mistral"),
        tensors=_LLAMA_TENSORS,
        defaults={**_LLAMA_DEFAULTS, "sliding_window": 4096},
        ignored=(".rotary_emb.inv_freq",),
    ),
    Family(
        name="smollm3",
        architectures=("SmolLM3ForCausalLM",),
        model_type="smollm3",
        gguf="smollm3",
        spec=_smollm3,
        tensors=_LLAMA_TENSORS,
        defaults={
            **_LLAMA_DEFAULTS,
            "rope_theta": 2e6,
            "no_rope_layer_interval": 4,
            "tie_word_embeddings": True,
            "bos_token_id": 128000,
            "eos_token_id": 128001,
        },
    ),
    Family(
        name="qwen2",
        architectures=("Qwen2ForCausalLM",),
        model_type="qwen2",
        gguf="qwen2",
        spec=_qwen2,
        tensors=_QWEN_TENSORS,
        defaults={**_LLAMA_DEFAULTS, "sliding_window": 4096, "bos_token_id": None, "eos_token_id": None},
    ),
    Family(
        name="qwen3",
        architectures=("Qwen3ForCausalLM",),
        model_type="qwen3",
        gguf="qwen3",
        spec=_qwen3,
        tensors=_QWEN_TENSORS,
        defaults={
            **_LLAMA_DEFAULTS,
            "head_dim": 128,
            "sliding_window": 4096,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    ),
    Family(
        name="phi3",
        architectures=("Phi3ForCausalLM",),
        model_type="phi3",
        gguf="phi3",
        spec=_windowed("phi3"),
        tensors=_PHI3_TENSORS,
        defaults={
            **_LLAMA_DEFAULTS,
            "rms_norm_eps": 1e-5,
            "original_max_position_embeddings": 4096,
            "eos_token_id": 32000,
        },
        ignored=("rope_factors_long.weight", "rope_factors_short.weight"),
    ),
    Family(
        name="olmo",
        architectures=("OlmoForCausalLM",),
        model_type="olmo",
        gguf="olmo",
        spec=_olmo,
        tensors={**_OUTER, **_matrices(interleaved=True)},
        defaults={**_LLAMA_DEFAULTS, "bos_token_id": None, "eos_token_id": 50279},
    ),
    Family(
        name="olmo2",
        architectures=("Olmo2ForCausalLM",),
        model_type="olmo2",
        gguf="olmo2",
        gguf_settings=_olmo2_gguf,
        spec=_olmo2,
        tensors={**_OUTER, **_QK_NORMS, **_NORMS_AFTER, **_matrices(interleaved=False)},
        defaults={**_LLAMA_DEFAULTS, "rms_norm_eps": 1e-5, "bos_token_id": None, "eos_token_id": 50279},
    ),
    Family(
        name="gemma2",
        architectures=("Gemma2ForCausalLM",),
        model_type="gemma2",
        gguf="gemma2",
        gguf_settings=_gemma_gguf(46),
        spec=_gemma2,
        tensors=_GEMMA_TENSORS,
        defaults={**_GEMMA_DEFAULTS, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},
    ),
    Family(
        name="gemma3",
        architectures=("Gemma3ForCausalLM",),
        model_type="gemma3_text",
        gguf="gemma3",
        gguf_settings=_gemma3_gguf,
        spec=_gemma3,
        tensors=_GEMMA_TENSORS,
        defaults={**_GEMMA_DEFAULTS, "rope_theta": 1e6, "rope_local_base_freq": 10000.0},
    ),
)
