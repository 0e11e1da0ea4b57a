"""Changes of a tiny checkpoint: config.json as other versions or hands write it, other names, types and files."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

CLASSES = {
    "llama": "Llama", "mistral": "Mistral", "smollm3": "SmolLM3", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3",
    "olmo": "Olmo", "olmo2": "Olmo2", "gemma2": "Gemma2", "gemma3_text": "Gemma3",
}  # fmt: skip
"""transformers' name of a family's classes, by model type."""
LAYER_TYPES = ("smollm3", "qwen2", "qwen3", "gemma2", "gemma3_text")
"""The model types whose layers may differ."""


@dataclass
class Form:
    """A checkpoint that is being put together."""

    number: int
    config: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    rng: random.Random
    changes: list[str] = field(default_factory=list)
    expected: str = "same"
    shards: int = 1
    listed: bool = True
    """Whether the index lists every tensor."""
    files: dict[str, str] = field(default_factory=dict)
    """Further files, as text."""
    stale: bool = False
    """Whether an index and shards of another model are there too."""
    file: str = "model.safetensors"

    @property
    def kind(self) -> str:
        return str(self.config.get("model_type"))

    def expect(self, expected: str) -> None:
        order = ("same", "either", "refused")
        self.expected = max(self.expected, expected, key=order.index)


# --- Changes of config.json -------------------------------------------------------------------------------------------


def rope_as_transformers_4_wrote_it(form: Form) -> bool:
    config = form.config
    if not config.get("rope_parameters"):
        return False
    rope = config.pop("rope_parameters")
    if form.kind == "gemma3_text":
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    kind = rope.pop("rope_type")
    config["rope_scaling"] = None if kind == "default" else {form.rng.choice(["type", "rope_type"]): kind, **rope}
    config["torch_dtype"] = config.pop("dtype", None)
    return True


def keys_that_equal_a_default_left_out(form: Form) -> bool:
    from transformers import CONFIG_MAPPING

    if form.kind not in CONFIG_MAPPING:
        return False
    defaults = CONFIG_MAPPING[form.kind]().to_dict()
    kept = {"model_type": form.kind}
    form.config = {**{key: value for key, value in form.config.items() if defaults.get(key) != value}, **kept}
    return True


def derived_keys_left_out(form: Form) -> bool:
    """head_dim where it is hidden_size / heads."""
    config = form.config
    if config.get("head_dim") == config.get("hidden_size", 0) // (config.get("num_attention_heads") or 1):
        config.pop("head_dim")
    form.expect("same")
    return True


def optional_keys_null(form: Form) -> bool:
    for key in ("pad_token_id", "rope_scaling", "quantization_config", "layer_types", "eos_token_id", "bos_token_id"):
        if form.rng.random() < 0.5 and not (key == "layer_types" and form.config.get("layer_types")):
            form.config[key] = None
    return True


def theta_in_both_places(form: Form) -> bool:
    form.config["rope_theta"] = form.rng.choice([123.0, 10000.0, 1000000])
    return True


def scaling_in_both_places(form: Form) -> bool:
    if not form.config.get("rope_parameters") or form.kind in ("gemma3_text", "phi3"):
        return False
    form.config["rope_scaling"] = form.rng.choice(
        [{}, {"rope_type": "linear", "factor": 2.0}, {"type": "linear", "factor": 8.0, "rope_theta": 777.0}]
    )
    return True


def original_positions_outside(form: Form) -> bool:
    form.config["original_max_position_embeddings"] = form.rng.choice([16, 64])
    form.expect("either")
    return True


def old_pattern_key(form: Form) -> bool:
    if form.kind != "gemma3_text":
        return False
    form.config.pop("layer_types", None)
    form.config["sliding_window_pattern"] = form.rng.choice([1, 2, 6])
    return True


def layer_types_for_a_family_without(form: Form) -> bool:
    if form.kind in LAYER_TYPES:
        return False
    types = [form.rng.choice(["full_attention", "sliding_attention"]) for _ in range(2)]
    form.config["layer_types"] = types
    alike = "sliding_attention" if form.config.get("sliding_window") else "full_attention"
    form.expect("same" if set(types) == {alike} else "refused")
    return True


def another_name_of_the_activation(form: Form) -> bool:
    key = "hidden_activation" if form.kind.startswith("gemma") else "hidden_act"
    form.config[key] = form.rng.choice(["gelu_new", "gelu_pytorch_tanh"] + ["swish", "silu"] * (key == "hidden_act"))
    return True


def an_activation_that_is_not_there(form: Form) -> bool:
    form.config["hidden_activation" if form.kind.startswith("gemma") else "hidden_act"] = form.rng.choice(
        ["gelu", "relu", "gelu_fast", "tanh"]
    )
    form.expect("refused")
    return True


def keys_that_mean_nothing(form: Form) -> bool:
    form.config |= {
        "_name_or_path": "x/y", "pretraining_tp": 4, "id2label": {"0": "A"}, "label2id": {"A": 0}, "num_labels": 1,
        "auto_map": {"AutoModelForCausalLM": "modeling_x.X"}, "transformers_version": "4.31.0",
        "attention_dropout": 0.1,
        "quantization_config": {}, "unsloth_version": "2025.1", "mrope_section": [1, 1, 2],
    }  # fmt: skip
    return True


def architectures_missing(form: Form) -> bool:
    form.config["architectures"] = form.rng.choice([None, []])
    return True


def architecture_of_the_base_model(form: Form) -> bool:
    form.config["architectures"] = (
        [form.config["architectures"][0].replace("ForCausalLM", "Model")] if form.config.get("architectures") else None
    )
    return True


def architecture_in_capitals(form: Form) -> bool:
    if form.kind != "llama":
        return False
    form.config["architectures"] = ["LLaMAForCausalLM"]
    return True


def architecture_of_another_family(form: Form) -> bool:
    other = form.rng.choice([each for kind, each in CLASSES.items() if kind != form.kind])
    form.config["architectures"] = [f"{other}ForCausalLM"]
    form.expect("refused")
    return True


def model_type_of_another_family(form: Form) -> bool:
    form.config["model_type"] = form.rng.choice([kind for kind in CLASSES if kind != form.kind])
    form.config["architectures"] = [f"{CLASSES[form.kind]}ForCausalLM"]
    form.expect("either")
    return True


def not_causal(form: Form) -> bool:
    form.config[form.rng.choice(["is_causal", "use_bidirectional_attention"])] = False
    if "is_causal" in form.config:
        form.expect("refused")
    return True


def quantized(form: Form) -> bool:
    key = form.rng.choice(["quantization_config", "compression_config"])
    form.config[key] = {"quant_method": "gptq", "bits": 4}
    form.expect("refused")
    return True


def special_ids(form: Form) -> bool:
    form.config["eos_token_id"] = form.rng.choice([-1, [2, 3], [2], None, 5])
    form.config["bos_token_id"] = form.rng.choice([-1, None, 7])
    return True


def a_size_left_out(form: Form) -> bool:
    """Its default does not fit the tensors, or fits them by chance: transformers decides."""
    key = form.rng.choice(["num_attention_heads", "num_key_value_heads", "max_position_embeddings", "rms_norm_eps",
                           "sliding_window", "query_pre_attn_scalar", "num_hidden_layers"])  # fmt: skip
    form.config.pop(key, None)
    form.expect("either")
    return True


def the_tie_flag_the_other_way(form: Form) -> bool:
    form.config["tie_word_embeddings"] = not form.config.get("tie_word_embeddings", form.kind in ("smollm3",))
    form.expect("either")
    return True


def part_of_each_head_rotated(form: Form) -> bool:
    if form.kind == "phi3":
        return False
    form.config["partial_rotary_factor"] = form.rng.choice([0.5, 1.0])
    form.expect("either")
    return True


CONFIG_CHANGES: tuple[Callable[[Form], bool], ...] = (
    rope_as_transformers_4_wrote_it, rope_as_transformers_4_wrote_it, keys_that_equal_a_default_left_out,
    derived_keys_left_out, optional_keys_null, theta_in_both_places, scaling_in_both_places, original_positions_outside,
    old_pattern_key, layer_types_for_a_family_without, another_name_of_the_activation, keys_that_mean_nothing,
    architectures_missing, architecture_of_the_base_model, architecture_in_capitals, special_ids, a_size_left_out,
    the_tie_flag_the_other_way, part_of_each_head_rotated,
)  # fmt: skip


# --- Changes of tensors and files -------------------------------------------------------------------------------------


def _tied_pair(form: Form) -> bool:
    heads = {"lm_head.weight", "model.lm_head.weight"} & form.tensors.keys()
    return not heads and "model.embed_tokens.weight" in form.tensors


def in_shards(form: Form) -> bool:
    form.shards = form.rng.choice([2, 3])
    return True


def an_index_that_leaves_one_out(form: Form) -> bool:
    form.shards, form.listed = 2, False
    return True


def an_old_index_beside_the_model(form: Form) -> bool:
    form.stale = True
    return True


def names_without_the_prefix(form: Form) -> bool:
    form.tensors = {name.removeprefix("model."): tensor for name, tensor in form.tensors.items()}
    return True


def some_names_without_the_prefix(form: Form) -> bool:
    some = {name: form.rng.random() < 0.3 for name in form.tensors}
    form.tensors = {name.removeprefix("model.") if some[name] else name: each for name, each in form.tensors.items()}
    return True


def the_head_with_the_prefix(form: Form) -> bool:
    if "lm_head.weight" not in form.tensors:
        return False
    form.tensors["model.lm_head.weight"] = form.tensors.pop("lm_head.weight")
    return True


def another_prefix(form: Form) -> bool:
    prefix = form.rng.choice(["module.", "base_model.model.", "_orig_mod.", "transformer."])
    form.tensors = {prefix + name: tensor for name, tensor in form.tensors.items()}
    form.expect("refused")
    return True


def leftovers(form: Form) -> bool:
    ends = ("rotary_emb.inv_freq", "k_scale", "v_scale")
    form.tensors |= {f"model.layers.{n}.self_attn.{end}": torch.ones(1) for n in range(2) for end in ends}
    return True


def other_types(form: Form) -> bool:
    types = form.rng.choice([[torch.bfloat16], [torch.float16], [torch.float32, torch.bfloat16, torch.float16]])
    form.tensors = {name: tensor.to(form.rng.choice(types)) for name, tensor in form.tensors.items()}
    return True


def only_the_head_of_a_tied_pair(form: Form) -> bool:
    if not _tied_pair(form):
        return False
    form.tensors["lm_head.weight"] = form.tensors.pop("model.embed_tokens.weight")
    return True


def both_of_a_tied_pair(form: Form) -> bool:
    if not _tied_pair(form):
        return False
    form.tensors["lm_head.weight"] = form.tensors["model.embed_tokens.weight"].clone()
    return True


def a_head_of_its_own_for_a_tied_pair(form: Form) -> bool:
    if not _tied_pair(form):
        return False
    other = form.tensors["model.embed_tokens.weight"]
    form.tensors["lm_head.weight"] = other + form.rng.choice([1e-3, 1.0]) * torch.randn_like(other)
    return True


def a_head_that_equals_the_embedding(form: Form) -> bool:
    if not {"lm_head.weight", "model.embed_tokens.weight"} <= form.tensors.keys():
        return False
    form.tensors["lm_head.weight"] = form.tensors["model.embed_tokens.weight"].clone()
    return True


def no_bias_of_the_output(form: Form) -> bool:
    form.tensors = {name: each for name, each in form.tensors.items() if not name.endswith("o_proj.bias")}
    return True


def a_bias_of_one_layer_missing(form: Form) -> bool:
    gone = [name for name in form.tensors if name.endswith("layers.1.self_attn.q_proj.bias")]
    for name in gone:
        del form.tensors[name]
        form.expect("refused")
    return bool(gone)


def a_tensor_missing(form: Form) -> bool:
    spare = ("bias", "inv_freq", "_scale")
    name = form.rng.choice(sorted(name for name in form.tensors if not name.endswith(spare)))
    del form.tensors[name]
    form.expect("refused")
    return True


def a_tensor_too_many(form: Form) -> bool:
    name = form.rng.choice(["model.layers.0.self_attn.q_proj.lora_A.weight", "model.layers.2.mlp.up_proj.weight",
                            "score.weight", "model.layers.0.self_attn.sinks"])  # fmt: skip
    form.tensors[name] = torch.ones(4, 4)
    form.expect("refused")
    return True


def a_tensor_of_another_shape(form: Form) -> bool:
    name = form.rng.choice(sorted(name for name in form.tensors if not name.endswith(("inv_freq", "_scale"))))
    form.tensors[name] = torch.cat([form.tensors[name]] * 2)
    form.expect("refused")
    return True


def an_adapter_beside_the_model(form: Form) -> bool:
    form.files["adapter_config.json"] = json.dumps({"peft_type": "LORA", "base_model_name_or_path": "x/y"})
    form.expect("refused")
    return True


def quantized_by_gptq_of_old(form: Form) -> bool:
    form.files["quantize_config.json"] = json.dumps({"bits": 4, "group_size": 128})
    form.expect("refused")
    return True


TENSOR_CHANGES: tuple[Callable[[Form], bool], ...] = (
    in_shards, an_index_that_leaves_one_out, an_old_index_beside_the_model, names_without_the_prefix,
    some_names_without_the_prefix, the_head_with_the_prefix, leftovers, other_types, other_types,
    only_the_head_of_a_tied_pair, both_of_a_tied_pair, a_head_of_its_own_for_a_tied_pair,
    a_head_that_equals_the_embedding, no_bias_of_the_output,
)  # fmt: skip
REFUSED: tuple[Callable[[Form], bool], ...] = (
    an_activation_that_is_not_there, architecture_of_another_family, model_type_of_another_family, not_causal,
    quantized, another_prefix, a_bias_of_one_layer_missing, a_tensor_missing, a_tensor_too_many,
    a_tensor_of_another_shape,
    an_adapter_beside_the_model, quantized_by_gptq_of_old,
)  # fmt: skip
"""Changes after which a checkpoint is no model that edgesw can have right, or is two."""
