"""A config.json becomes the DecoderSpec of the model that transformers would build, or one line that names the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_families import VARIANTS
from tiny_models import SIZES

from edgesw.checkpoint.hf_config import normalized_config
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError, UnsupportedError, UsageError
from edgesw.families.registry import FAMILIES, family_of

LLAMA: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], **SIZES, "rms_norm_eps": 1e-5}


def spec_of(config: dict[str, Any]) -> DecoderSpec:
    family = family_of(config, "config.json")
    return family.decoder_spec(normalized_config(config, family, "config.json"), "config.json")


def theta(spec: DecoderSpec) -> float:
    """The base of the RoPE frequencies theta^(-2i / head_dim)."""
    return spec.rotaries[0].frequencies[1] ** (-spec.head_dim / 2)


def test_missing_keys_have_transformers_defaults() -> None:
    from transformers import LlamaConfig

    theirs = LlamaConfig(**SIZES)
    sizes = {key: value for key, value in LLAMA.items() if key not in ("num_key_value_heads", "rms_norm_eps")}
    ours = spec_of(sizes)
    assert (ours.norm_eps, ours.tied_head) == (theirs.rms_norm_eps, theirs.tie_word_embeddings)
    assert theta(ours) == pytest.approx(theirs.rope_parameters["rope_theta"])
    assert ours.head_dim == theirs.head_dim
    assert (ours.bos_token_id, ours.eos_token_ids) == (theirs.bos_token_id, (theirs.eos_token_id,))
    assert ours.kv_heads == ours.heads, "an old Llama without grouped heads would be read wrongly"


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 5e5},
        {"rope_theta": 5e5, "rope_scaling": None},
        {"rope_theta": 500000, "rope_scaling": {"type": "default"}},
        {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
        {"rope_theta": 1e4, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}},
    ],
)
def test_rope_theta_of_old_and_new_transformers(rope: dict[str, Any]) -> None:
    assert theta(spec_of({**LLAMA, **rope})) == pytest.approx(5e5)


def test_an_unknown_rope_type_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedError, match=r"rope type 'spiral' is not supported. Supported: .*llama3.*yarn"):
        spec_of({**LLAMA, "rope_scaling": {"rope_type": "spiral", "factor": 8.0}})


@pytest.mark.parametrize(
    ("rope", "said"),
    [
        ({"rope_type": "llama3", "factor": 8.0, "high_freq_factor": 4.0}, "'rope_type'='llama3': {'low_freq_factor'}"),
        ({"rope_type": "linear", "factor": "2"}, "'factor' is '2'"),
        ({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, "'short_factor' is .* list of 8"),
    ],
)
def test_rope_settings_that_make_no_sense_are_named(rope: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        spec_of({**LLAMA, "rope_parameters": {"rope_theta": 1e4, **rope}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "gelu"),
        ("is_causal", False),
        ("use_bidirectional_attention", True),
        ("transformers_weights", "other.safetensors"),
        ("rope_scaling", {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}),
        ("rope_scaling", {"rope_type": "default", "llama_4_scaling_beta": 0.1}),
        ("quantization_config", {"quant_method": "gptq", "bits": 4}),
        ("compression_config", {"format": "pack-quantized"}),
        ("layer_types", ["sliding_attention", "full_attention"]),
    ],
)
def test_an_unsupported_setting_is_named(key: str, value: Any) -> None:
    """Ignored, each of these would give a package that writes nonsense."""
    name = "partial_rotary_factor" if "partial_rotary_factor" in repr(value) else key
    with pytest.raises(UnsupportedError, match=rf"config\.json: '{name}' (is|says|has|names) "):
        spec_of({**LLAMA, key: value})


@pytest.mark.parametrize("value", [{}, None])
def test_an_empty_quantization_config_is_none(value: Any) -> None:
    """Tools that remove a quantization leave it behind; transformers loads such a model as it is."""
    assert spec_of({**LLAMA, "quantization_config": value}) == spec_of(LLAMA)


def test_swish_is_another_name_of_silu() -> None:
    """Old Llamas are called so; refused, they could not be converted at all."""
    assert spec_of({**LLAMA, "hidden_act": "swish"}).activation == "silu"
    assert spec_of({**LLAMA, "hidden_act": "gelu_pytorch_tanh"}).activation == "gelu_tanh"


def test_end_tokens_may_be_one_or_many_or_none() -> None:
    assert spec_of({**LLAMA, "eos_token_id": 7}).eos_token_ids == (7,)
    assert spec_of({**LLAMA, "eos_token_id": [7, 9]}).eos_token_ids == (7, 9)
    assert spec_of({**LLAMA, "eos_token_id": None, "bos_token_id": None}).eos_token_ids == ()
    assert spec_of({**LLAMA, "eos_token_id": [-1, 7]}).eos_token_ids == (7,)
    none = spec_of({**LLAMA, "eos_token_id": -1, "bos_token_id": -1})
    assert (none.bos_token_id, none.eos_token_ids) == (None, ()), "the last row of the embedding would end each text"


@pytest.mark.parametrize("name", sorted(family.name for family in FAMILIES))
def test_a_config_without_sizes_has_transformers_defaults(name: str) -> None:
    """Gemma 3's own text config leaves out what equals a default: refused, the 4B could not be converted."""
    from transformers import CONFIG_MAPPING

    family = next(family for family in FAMILIES if family.name == name)
    theirs = CONFIG_MAPPING[family.model_type]()
    ours = spec_of({"model_type": family.model_type})
    assert (ours.layers, ours.heads, ours.kv_heads) == (
        theirs.num_hidden_layers, theirs.num_attention_heads, theirs.num_key_value_heads,
    )  # fmt: skip
    assert (ours.hidden_size, ours.vocab_size, ours.max_positions) == (
        theirs.hidden_size, theirs.vocab_size, theirs.max_position_embeddings,
    )  # fmt: skip


@pytest.mark.parametrize("value", [0, -1, 1.5, "64", True, [64], 1 << 40])
@pytest.mark.parametrize("key", [*SIZES, "head_dim"])
def test_a_senseless_size_is_named(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError, match=f"config.json: '{key}' is .*; it must be an integer"):
        spec_of({**LLAMA, key: value})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 3, "num_key_value_heads": 2}, r"size \(64\) is not a multiple of .* heads \(3\)"),
        ({"num_attention_heads": 6, "num_key_value_heads": 2}, r"size \(64\) is not a multiple of .* heads \(6\)"),
        ({"head_dim": 15}, "even rotary dimension, but got `head_dim`=15"),
        ({"rms_norm_eps": 0.0}, "'rms_norm_eps' is 0.0"),
        ({"rms_norm_eps": float("nan")}, "'rms_norm_eps' is nan"),
        ({"rope_theta": "10000"}, "'rope_theta' is '10000'"),
        ({"rope_parameters": [1]}, "'rope_parameters' is"),
        ({"tie_word_embeddings": "yes"}, "Field 'tie_word_embeddings' expected bool, got str"),
        ({"bos_token_id": [1, 2]}, "Field 'bos_token_id' .* expected int"),
        ({"num_hidden_layers": 100_000}, "'num_hidden_layers' is 100000"),
    ],
)
def test_impossible_values_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        spec_of({**LLAMA, **changes})


@pytest.mark.parametrize("named", [["GPT2LMHeadModel"], [], None, "LlamaForCausalLM", [7]])
def test_an_unknown_architecture_lists_the_known_ones(named: Any) -> None:
    with pytest.raises(UsageError, match=r"config\.json: .*Supported: LlamaForCausalLM \('llama'\), Mistral"):
        spec_of({**LLAMA, "architectures": named})


def test_mistral_has_a_window_only_if_its_config_has_one() -> None:
    """Version 0.1 has a window of 4,096, later ones have none: a mix-up would misread long texts."""
    mistral = {**LLAMA, "architectures": ["MistralForCausalLM"]}
    assert spec_of({**mistral, "sliding_window": None}).layer_windows == (None, None)
    assert spec_of({**mistral, "sliding_window": 32}).layer_windows == (32, 32)
    assert spec_of(mistral).layer_windows == (4096, 4096), "the default window is 4096"


def test_every_family_has_a_tiny_model_and_a_row_on_its_page() -> None:
    """The tests that hold for all families run for those with a tiny model; the page says what is supported."""
    page = (Path(__file__).parents[2] / "docs" / "families.md").read_text(encoding="utf-8")
    for family in FAMILIES:
        assert any(variant.split("-")[0] == family.name for variant in VARIANTS), family.name
        assert all(f"| {family.name} | `{name}` |" in page for name in [family.architecture]), family.name


def test_no_two_families_read_the_same_files() -> None:
    """The first in the registry would win, silently."""
    for key in ("architecture", "model_type", "gguf"):
        names = [getattr(family, key) for family in FAMILIES if getattr(family, key)]
        assert len(set(names)) == len(names)


def test_every_family_names_the_same_tensors_in_both_formats() -> None:
    for family in FAMILIES:
        for canonical, stored in family.tensors.items():
            names = (stored.hf, stored.gguf)
            assert all(("{layer}" in name) == ("{layer}" in canonical) for name in names), f"{family.name} {canonical}"
