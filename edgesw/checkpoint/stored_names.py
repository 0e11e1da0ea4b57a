"""Names of tensors in a Hugging Face checkpoint: with or without the decoder's prefix, and what else may be there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from edgesw.checkpoint.places import Place
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError, UnsupportedError

PREFIX = "model."
LEFTOVERS = (
    ".rotary_emb.inv_freq",  # a buffer that transformers saved before version 4.32
    ".k_scale",  # scales for 8-bit caches of keys and values, which the float model does not use
    ".v_scale",
    ".kv_scale",
)
"""Suffixes of tensors that do not change the float model."""
# Parts of names that only files of another kind have.
_ADAPTER = ("lora_A", "lora_B", "lora_embedding", "lora_magnitude", ".base_layer.", "base_model.model.")
_QUANTIZED = {
    ".qweight": "GPTQ or AWQ",
    ".qzeros": "GPTQ or AWQ",
    ".weight_packed": "compressed-tensors",
    ".absmax": "bitsandbytes",
    ".weight_scale_inv": "FP8",
    ".SCB": "bitsandbytes",
}
ADAPTER_HELP = (
    "merge it into its base model first, with peft: PeftModel.from_pretrained(BASE, ADAPTER).merge_and_unload()"
    ".save_pretrained(NEW_FOLDER), and give NEW_FOLDER."
)


def stored_names(stored: Collection[str], wanted: Iterable[str], where: str) -> dict[str, str]:
    """The name in the file for each wanted name that the file has: the same, or with the prefix "model." added or left
    out, as transformers accepts both. CheckpointError where two of the file's names mean one tensor."""
    known, found = set(wanted), dict[str, str]()
    for name in sorted(stored):
        means = next((each for each in (name, name.removeprefix(PREFIX), PREFIX + name) if each in known), None)
        if means is None:
            continue
        if means in found:
            raise CheckpointError(f"{where}: '{found[means]}' and '{name}' are two tensors for one place: remove one.")
        found[means] = name
    return found


def refuse_other_kinds(stored: Collection[str], where: str) -> None:
    """Raises UnsupportedError for the tensors of an adapter, or of a model that is quantized already."""
    for name in sorted(stored):
        if any(part in name for part in _ADAPTER):
            raise UnsupportedError(f"{where}: tensor '{name}' belongs to an adapter (LoRA): {ADAPTER_HELP}")
        for end, method in _QUANTIZED.items():
            if name.endswith(end) or f"{end}." in name:
                raise UnsupportedError(
                    f"{where}: tensor '{name}' belongs to a model that is quantized already ({method}): use the "
                    "original model, in float16, bfloat16 or float32."
                )


def absent_biases(spec: DecoderSpec, wanted: Mapping[str, Place], stored: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds of matrices whose bias no layer stores, although the config announces them: transformers' models start
    with biases of zero. Llama's `attention_bias` means the output projection too, which Qwen's models never had."""
    layers = range(spec.layers)
    names = {kind: [wanted[f"layers.{layer}.{kind}.bias"].name for layer in layers] for kind in spec.biased}
    return tuple(kind for kind, each in names.items() if not any(name in stored for name in each))
