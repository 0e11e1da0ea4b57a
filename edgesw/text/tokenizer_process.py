"""What the process of `Tokenizer` does: it holds loaded tokenizers by number, and renders chat templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from edgesw import errors
from edgesw.text.loaded_tokenizer import LoadedTokenizer

_Made = tuple[Any, Sequence[bytes]]
_loaded: dict[int, LoadedTokenizer] = {}


def _load(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    error = getattr(errors, given["error"])
    made = LoadedTokenizer.from_files(dict(zip(given["names"], files, strict=True)), given["where"], error)
    _loaded[given["number"]] = made
    found = {
        "bos_id": made.bos_id, "eos_ids": made.eos_ids, "prefix_ids": made.prefix_ids, "suffix_ids": made.suffix_ids,
        "vocab_size": made.vocab_size, "chat_template": made.chat_template, "names": made.names,
        "special_ids": sorted(made.special_ids),
    }  # fmt: skip
    return found, ()


def _of(given: Mapping[str, Any]) -> LoadedTokenizer:
    for number in given["forgotten"]:
        _loaded.pop(number, None)
    return _loaded[given["number"]]


def _encode(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    return _of(given).encode(given["text"], add_special_tokens=given["add_special_tokens"]), ()


def _decode(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    tokenizer = _of(given)
    return [tokenizer.decode(ids, special=given["special"]) for ids in given["ids"]], ()


def _token(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    return _of(given).token(given["token"]), ()


def _chat_prompt(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    import jinja2  # few processes render a template

    from edgesw.text.chat import render_chat

    try:
        add = given["add_generation_prompt"]
        return render_chat(given["template"], given["messages"], given["names"], add_generation_prompt=add), ()
    except jinja2.TemplateError as error:
        why = str(error).rstrip(".")
        raise errors.UsageError(
            f"the model's chat template refuses these messages: {why}. Give a plain prompt."
        ) from error


def _chat_format(given: Mapping[str, Any], files: Sequence[bytes]) -> _Made:
    from edgesw.text.chat_format_derive import derive_format

    chat_format = derive_format(given["template"], given["names"])
    return chat_format and asdict(chat_format), ()


HANDLERS = {
    "load": _load,
    "encode": _encode,
    "decode": _decode,
    "token": _token,
    "chat_prompt": _chat_prompt,
    "chat_format": _chat_format,
}
