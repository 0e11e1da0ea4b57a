"""Reads a checkpoint's tokenizer as files that give the same ids in every program that reads a package.

transformers rebuilds some tokenizers from their vocabulary, with pre-tokenizers and post-processors of its own, so the
only way to have its ids is to ask it. It works in a process with limits: see edgesw.checkpoint.hf_tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgesw.checkpoint.hf_tokenizer_check import VOCABULARIES, check_tokenizer, damaged, read_table
from edgesw.errors import CheckpointError, first_line
from edgesw.text.loaded_tokenizer import LoadedTokenizer
from edgesw.text.tokenizer_files import NAMED_TOKENS

# The class that every version of transformers reads as "what tokenizer.json says".
_PLAIN = "PreTrainedTokenizerFast"
# What tokenizer_config.json repeats of tokenizer.json, and may contradict.
_IN_TOKENIZER_JSON = ("added_tokens_decoder", "additional_special_tokens", "extra_special_tokens")
# Keys of tokenizer_config.json that name code or files which are not in the package.
_LEFT_OUT = (
    "auto_map", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "spm_file", "gguf_file",
    "special_tokens_map_file", "fast_tokenizer_files", "vocab", "merges", "tokenizer_object", "init_inputs",
)  # fmt: skip


def import_transformers() -> None:
    """Imports what reading needs, which takes a second: not to be counted as the time that a tokenizer takes."""
    from transformers import AutoTokenizer  # noqa: F401
    from transformers.tokenization_utils_tokenizers import TokenizersBackend  # noqa: F401


def read_tokenizer(folder: Path, scratch: Path) -> dict[str, bytes]:
    """What `tokenizer_from_folder` returns, read in this process. `scratch` is an empty folder to write in."""
    check_tokenizer(folder)
    theirs = _load(folder)
    backend = theirs.backend_tokenizer
    content = _content(folder, backend)
    template = _template(theirs)
    files = {"tokenizer.json": content}
    if template is not None:
        try:
            files["chat_template.jinja"] = template.encode("utf-8")
        except UnicodeEncodeError as error:
            raise damaged(folder, "the chat template", error) from error
    ends = LoadedTokenizer.from_files(files, str(folder))
    settings = _settings(folder, theirs, ends, template)
    plain = {key: value for key, value in settings.items() if key not in _IN_TOKENIZER_JSON}
    # Outside of its folder the declared class may be taken at its word where it was not before.
    for candidate in (settings, {**settings, "tokenizer_class": _PLAIN}, {**plain, "tokenizer_class": _PLAIN}):
        files["tokenizer_config.json"] = _json(candidate)
        if _reads_as(files, theirs, scratch):
            return files
    raise CheckpointError(
        f"{folder}: transformers reads this tokenizer otherwise once it is saved. Save it with transformers: "
        f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
    )


def _load(folder: Path) -> Any:
    """transformers' tokenizer. CheckpointError, in one line, for whatever it raises."""
    from transformers import AutoTokenizer
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    try:
        # Not by Mistral's own library: the ids must not depend on whether it is installed.
        theirs = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, mistral_format=False
        )
    except BaseException as error:
        # The tokenizers library panics with a class of its own, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _unreadable(folder, error) from error
    if not isinstance(theirs, TokenizersBackend):
        raise CheckpointError(
            f"{folder}: transformers reads this tokenizer as {type(theirs).__name__}, which has no tokenizer.json: "
            "use another model."
        )
    if len(theirs) <= len(theirs.added_tokens_decoder):
        raise _unreadable(folder, ValueError("it has only special tokens"))
    return theirs


def _unreadable(folder: Path, error: BaseException) -> CheckpointError:
    if (folder / "tokenizer.json").is_file():
        return damaged(folder, "tokenizer.json", first_line(error))
    (name, *_) = (name for name in VOCABULARIES if (folder / name).is_file())
    needs = "`pip install sentencepiece` if it is missing, or make" if name == "tokenizer.model" else "Make"
    return CheckpointError(
        f"{folder}: transformers cannot read {name} ({first_line(error)}), and there is no tokenizer.json: {needs} one "
        f"where it can: AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
    )


def _content(folder: Path, backend: Any) -> bytes:
    """tokenizer.json: the file of the folder where transformers reads it as it is, or what transformers made of it."""
    from tokenizers import Tokenizer as Backend

    made: str = backend.to_str()
    path = folder / "tokenizer.json"
    if path.is_file():
        content = path.read_bytes()
        try:
            if Backend.from_str(content.decode("utf-8")).to_str() == made:
                return content
        except Exception:  # transformers took only parts of the file
            pass
    return made.encode("utf-8")


def _template(theirs: Any) -> str | None:
    """The template that `apply_chat_template` uses; None where it would refuse."""
    template = theirs.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) else None


def _settings(folder: Path, theirs: Any, ends: LoadedTokenizer, template: str | None) -> dict[str, Any]:
    """tokenizer_config.json: the folder's own, with what transformers takes from elsewhere written out.

    Special tokens are plain text, as transformers itself saves them (how each is matched is in tokenizer.json), and
    what is put around a text is spelled out for clients that go by these keys: older transformers, onnxruntime-genai.
    """
    settings = read_table(folder, "tokenizer_config.json")
    for key in (*_LEFT_OUT, *NAMED_TOKENS):
        settings.pop(key, None)
    named = dict(theirs.special_tokens_map)
    settings |= {name: named.pop(name) for name in NAMED_TOKENS if name in named}
    settings.pop("model_specific_special_tokens", None)
    if named:
        settings["model_specific_special_tokens"] = named
    if theirs.extra_special_tokens and not settings.keys() & {"additional_special_tokens", "extra_special_tokens"}:
        settings["additional_special_tokens"] = theirs.extra_special_tokens
    settings["add_bos_token"] = ends.prefix_ids != () and ends.prefix_ids == (theirs.bos_token_id,)
    settings["add_eos_token"] = ends.suffix_ids != () and ends.suffix_ids == (theirs.eos_token_id,)
    own = type(theirs).__name__
    if own == "TokenizersBackend" or str(settings.get("tokenizer_class")).removesuffix("Fast") != own:
        settings["tokenizer_class"] = _PLAIN
    if settings.pop("chat_template", None) is not None and template is not None:
        settings["chat_template"] = template
    return settings


def _reads_as(files: Mapping[str, bytes], theirs: Any, scratch: Path) -> bool:
    """Whether transformers reads the same tokenizer from these files alone."""
    for file, content in files.items():
        (scratch / file).write_bytes(content)
    try:
        again = _load(scratch)
    except CheckpointError:
        return False
    return (
        again.backend_tokenizer.to_str() == theirs.backend_tokenizer.to_str()
        and again.special_tokens_map == theirs.special_tokens_map
        and again.split_special_tokens == theirs.split_special_tokens
        and _template(again) == _template(theirs)
    )


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode("ascii")
