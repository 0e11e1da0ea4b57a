"""Builds tokenizer.json and its companion files from the metadata of a GGUF file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgesw.checkpoint import gguf_sentencepiece
from edgesw.checkpoint.gguf_bpe import PRE_TOKENIZERS, byte_level_bpe
from edgesw.checkpoint.gguf_vocabulary import Kind, Vocabulary, eos_ids, special_id, vocabulary
from edgesw.errors import CheckpointError, EdgeswError, UnsupportedError

_MODELS = {"gpt2": "byte-level BPE", "llama": "SentencePiece BPE", "t5": "SentencePiece Unigram"}


def tokenizer_from_gguf(metadata: dict[str, Any], where: str) -> dict[str, bytes]:
    """The contents of tokenizer.json, tokenizer_config.json, generation_config.json and chat_template.jinja, by name.

    The last is left out where the model has no template. Raises UnsupportedError for an unknown kind of tokenizer,
    CheckpointError for a damaged one.
    """
    model, pre = str(metadata.get("tokenizer.ggml.model")), str(metadata.get("tokenizer.ggml.pre"))
    if model not in _MODELS:
        known = ", ".join(f"'{name}' ({kind})" for name, kind in _MODELS.items())
        raise UnsupportedError(f"{where}: tokenizer model '{model}' is not supported. Supported: {known}.")
    if model == "gpt2" and pre not in PRE_TOKENIZERS:
        known = ", ".join(f"'{name}'" for name in PRE_TOKENIZERS)
        raise UnsupportedError(f"{where}: pre-tokenizer '{pre}' is not supported. Supported: {known}.")
    tokens = vocabulary(metadata, where)
    config = _config(metadata, tokens, where)
    try:
        tokenizer = _tokenizer(metadata, tokens, model)
        _add_special(tokenizer, tokens, metadata)
        _name_special(tokenizer, config)
        _add_ends(tokenizer, config)
    except EdgeswError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception
        raise CheckpointError(
            f"{where}: the tokenizer in the metadata is damaged ({error}): download it again."
        ) from error
    generation = {"bos_token_id": special_id(metadata, "bos"), "eos_token_id": eos_ids(metadata)}
    files = {
        "tokenizer.json": tokenizer.to_str().encode("utf-8"),
        "tokenizer_config.json": _json(config),
        "generation_config.json": _json({key: value for key, value in generation.items() if value is not None}),
    }
    if "chat_template" in config:
        files["chat_template.jinja"] = config["chat_template"].encode("utf-8")
    return files


def _tokenizer(metadata: Mapping[str, Any], tokens: Vocabulary, model: str) -> Any:
    """A tokenizers.Tokenizer for this tokenizer model, without special tokens."""
    if model == "gpt2":
        merges = metadata.get("tokenizer.ggml.merges", [])
        return byte_level_bpe(tokens, merges, PRE_TOKENIZERS[metadata["tokenizer.ggml.pre"]])
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", model == "llama"))
    if model == "llama":
        return gguf_sentencepiece.bpe(tokens, prefix)
    merge_spaces = bool(metadata.get("tokenizer.ggml.remove_extra_whitespaces", False))
    charsmap = metadata.get("tokenizer.ggml.precompiled_charsmap") or b""
    # Some files store it as signed bytes.
    plain = charsmap if isinstance(charsmap, bytes) else bytes(value & 0xFF for value in charsmap)
    return gguf_sentencepiece.unigram(tokens, prefix, merge_spaces, plain)


def _add_special(tokenizer: Any, tokens: Vocabulary, metadata: Mapping[str, Any]) -> None:
    """Adds the tokens that are matched whole in a text: control tokens, which are special, and user-defined ones."""
    from tokenizers import AddedToken

    if metadata["tokenizer.ggml.model"] != "gpt2":
        tokens = gguf_sentencepiece.spelled(tokens)
        special = tokens.of_kind(Kind.CONTROL, Kind.UNKNOWN)
    else:
        special = tokens.of_kind(Kind.CONTROL)
    # Phi-3 was trained without white space after the tokens that delimit turns; no file says so (llama-vocab.cpp).
    strip = metadata.get("general.architecture") == "phi3" and metadata["tokenizer.ggml.model"] == "llama"
    unstripped = {"<unk>", "<s>", "<|endoftext|>"}
    tokenizer.add_tokens(
        [AddedToken(t, normalized=False, special=True, rstrip=strip and t not in unstripped) for t in special]
    )
    user_defined = tokens.of_kind(Kind.USER_DEFINED)
    tokenizer.add_tokens([AddedToken(token, normalized=False, rstrip=strip) for token in user_defined])


def _name_special(tokenizer: Any, config: dict[str, Any]) -> None:
    """Sees to it that the tokens that `config` names are special, as every client takes them to be.

    BOS and EOS are made special; others that are not lose their name, since old files name ordinary ones for padding.
    """
    from tokenizers import AddedToken

    ends = [AddedToken(config[key], normalized=False) for key in ("bos_token", "eos_token") if key in config]
    tokenizer.add_special_tokens(ends)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    for key in ("unk_token", "pad_token"):
        if config.get(key) not in special:
            config.pop(key, None)


def _add_ends(tokenizer: Any, config: Mapping[str, Any]) -> None:
    """Adds the template that puts BOS and EOS around a text, for programs that leave this to tokenizer.json."""
    from tokenizers import processors

    bos, eos = (config[f"{end}_token"] if config[f"add_{end}_token"] else None for end in ("bos", "eos"))
    ends = {token: tokenizer.token_to_id(token) for token in (bos, eos) if token is not None}
    if not ends:
        return
    before, after = (f"{bos}:N " if bos else ""), (f" {eos}:N" if eos else "")
    single = f"{before}$A:N{after}"
    pair = single.replace(":N", ":0") + " " + single.replace("$A", "$B").replace(":N", ":1")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single.replace(":N", ":0"), pair=pair, special_tokens=list(ends.items())
    )


def _config(metadata: Mapping[str, Any], tokens: Vocabulary, where: str) -> dict[str, Any]:
    """The content of tokenizer_config.json, in transformers' format."""
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        number = special_id(metadata, key)
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < len(tokens.tokens):
            raise CheckpointError(
                f"{where}: 'tokenizer.ggml.{key}_token_id' is {number}, but there are {len(tokens.tokens)} tokens: "
                "use another file."
            )
        config[f"{name}_token"] = tokens.tokens[number]
    model = metadata["tokenizer.ggml.model"]
    pre = PRE_TOKENIZERS.get(str(metadata.get("tokenizer.ggml.pre")))
    defaults = {"bos": model == "llama" or (model == "gpt2" and pre is not None and pre.bos), "eos": model == "t5"}
    for end, default in defaults.items():
        wanted = bool(metadata.get(f"tokenizer.ggml.add_{end}_token", default))
        config[f"add_{end}_token"] = wanted and f"{end}_token" in config
    if isinstance(metadata.get("tokenizer.chat_template"), str):
        config["chat_template"] = metadata["tokenizer.chat_template"]
    return config


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8")
