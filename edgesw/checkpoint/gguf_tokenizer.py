"""A tokenizer from the metadata of a GGUF file: byte-level BPE, as tokenizer.json and what goes with it."""

from __future__ import annotations

import json
from typing import Any

from edgesw.checkpoint.gguf_config import eos_ids
from edgesw.errors import CheckpointError, UnsupportedError

_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4  # tokenizer.ggml.token_type

# How a text is cut into words before merging, by `tokenizer.ggml.pre`: the patterns of the models' own tokenizer.json.
# None stands for GPT-2's, which the tokenizers library knows as ByteLevel.
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS: dict[str, str | None] = {
    "gpt-2": None,
    "smollm": None,
    "llama-bpe": _LLAMA3,
    "qwen2": _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),
}
_DIGITS_APART = {"smollm"}


def tokenizer_from_gguf(metadata: dict[str, Any], where: str) -> dict[str, bytes]:
    """File name -> content of tokenizer.json, tokenizer_config.json, generation_config.json and, where there is one,
    chat_template.jinja. UnsupportedError for a kind of tokenizer we do not know, CheckpointError for a damaged one.
    """
    model, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if model != "gpt2":
        raise UnsupportedError(f"{where}: tokenizer model '{model}' is not supported, only 'gpt2' (byte-level BPE)")
    if pre not in _PATTERNS:
        known = ", ".join(f"'{name}'" for name in _PATTERNS)
        raise UnsupportedError(f"{where}: pre-tokenizer '{pre}' is not supported. Supported: {known}.")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, list) or not tokens:
        raise CheckpointError(f"{where}: the metadata has no 'tokenizer.ggml.tokens'")
    config = _config(metadata, tokens, where)
    try:
        tokenizer = _byte_level_bpe(metadata, tokens, pre, config.get("bos_token"))
    except Exception as error:  # the tokenizers library raises plain Exception
        raise CheckpointError(f"{where}: the tokenizer in the metadata is damaged: {error}") from error
    eos = eos_ids(metadata)
    generation = {"bos_token_id": metadata.get("tokenizer.ggml.bos_token_id"), "eos_token_id": eos}
    files = {
        "tokenizer.json": tokenizer.encode("utf-8"),
        "tokenizer_config.json": _json(config),
        "generation_config.json": _json({key: value for key, value in generation.items() if value is not None}),
    }
    if "chat_template" in config:
        files["chat_template.jinja"] = config["chat_template"].encode("utf-8")
    return files


def _byte_level_bpe(metadata: dict[str, Any], tokens: list[str], pre: str, bos: str | None) -> str:
    """The content of tokenizer.json."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    merges = [tuple(merge.split(" ")) for merge in metadata.get("tokenizer.ggml.merges", [])]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    pattern = _PATTERNS[pre]
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if pre in _DIGITS_APART else []
    if pattern is not None:
        steps.append(pre_tokenizers.Split(Regex(pattern), behavior="isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata.get("tokenizer.ggml.token_type") or [_NORMAL] * len(tokens)
    for added in _CONTROL, _USER_DEFINED:  # both are matched whole in a text; only control tokens are special
        found = [token for token, kind in zip(tokens, types, strict=True) if kind == added]
        tokenizer.add_tokens([AddedToken(token, normalized=False, special=added == _CONTROL) for token in found])
    if metadata.get("tokenizer.ggml.add_bos_token") and bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocabulary[bos])]
        )
    return tokenizer.to_str()


def _config(metadata: dict[str, Any], tokens: list[str], where: str) -> dict[str, Any]:
    """tokenizer_config.json, which transformers takes too."""
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < len(tokens):
            raise CheckpointError(f"{where}: 'tokenizer.ggml.{key}_token_id' is {number}, of {len(tokens)} tokens")
        config[f"{name}_token"] = tokens[number]
    config["add_bos_token"] = bool(metadata.get("tokenizer.ggml.add_bos_token", False))
    if isinstance(metadata.get("tokenizer.chat_template"), str):
        config["chat_template"] = metadata["tokenizer.chat_template"]
    return config


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
