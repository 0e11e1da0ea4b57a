"""Tokenizer: text to token ids and back, from the files of a package or checkpoint."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Tokenizer as Backend

from edgesw.errors import CheckpointError, EdgeswError, UsageError
from edgesw.files.json_file import parse_json
from edgesw.text.charsmap import check_charsmap
from edgesw.text.chat import Message, render_chat
from edgesw.text.chat_format import ChatFormat
from edgesw.text.chat_format_sandbox import derive_format_sandboxed

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "generation_config.json",
)
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The special tokens that tokenizer_config.json names."""


# Texts that show what is put around a text.
_PROBES = ("a", "b c d e")


class Tokenizer:
    """A model's tokenizer and chat template; `from_files` and `from_folder` create one."""

    bos_id: int | None
    """The token named BOS; None for models without one. Whether a text begins with it, `prefix_ids` says."""
    eos_ids: tuple[int, ...]
    """The tokens that end a text or a turn: the tokenizer's own EOS and those of generation_config.json."""
    prefix_ids: tuple[int, ...]
    """What the tokenizer puts before a text."""
    suffix_ids: tuple[int, ...]
    """What the tokenizer puts after a text."""
    vocab_size: int
    """The number of tokens, including added ones. The model's embedding may be padded beyond it."""
    chat_template: str | None

    def __init__(self, backend: Backend, settings: Mapping[str, Any], eos: Iterable[int], template: str | None) -> None:
        """ValueError where what is put around a text depends on the text."""
        self._backend = backend
        backend.encode_special_tokens = settings.get("split_special_tokens") is True
        self._names = _names(settings)
        self.bos_id, own = (self._id(self._names.get(f"{end}_token")) for end in ("bos", "eos"))
        self.eos_ids = tuple(dict.fromkeys([*([] if own is None else [own]), *eos]))
        around = {self._around(probe) for probe in _PROBES}
        if len(around) > 1:
            raise ValueError("its post-processor does more than put tokens before and after a text")
        ((self.prefix_ids, self.suffix_ids),) = around
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self.chat_template = template
        self._special_ids = frozenset(n for n, token in backend.get_added_tokens_decoder().items() if token.special)

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], where: str = "tokenizer", error: type[EdgeswError] = CheckpointError
    ) -> Tokenizer:
        """A tokenizer from files, name -> content (see TOKENIZER_FILES; only tokenizer.json is required).

        Raises `error`, in one line that begins with `where`, for a missing or damaged file.
        """
        if "tokenizer.json" not in files:
            raise error(f"{where}: tokenizer.json is missing: {error.again}.")
        with _reading(where, error):
            check_charsmaps(files["tokenizer.json"])
            backend = Backend.from_str(files["tokenizer.json"].decode("utf-8"))
            backend.no_truncation()
            backend.no_padding()
        settings = _table(files, "special_tokens_map.json", where, error)
        settings |= {key: v for key, v in _table(files, "tokenizer_config.json", where, error).items() if v is not None}
        eos = _table(files, "generation_config.json", where, error).get("eos_token_id")
        try:
            file = files.get("chat_template.jinja")
            template = _template(settings.get("chat_template")) if file is None else file.decode("utf-8")
        except UnicodeDecodeError as cause:
            raise error(f"{where}: chat_template.jinja is damaged ({cause}): {error.again}.") from cause
        with _reading(where, error):
            return cls(backend, settings, stop_ids(eos), template)

    @classmethod
    def from_folder(cls, folder: str | Path, error: type[EdgeswError] = CheckpointError) -> Tokenizer:
        """A tokenizer from the folder of a checkpoint or of a package (pass PackageError). Raises as `from_files`."""
        folder = Path(folder)
        files = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
        return cls.from_files(files, str(folder), error)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text, as transformers gives them; special tokens written out in it are recognised.

        `add_special_tokens` puts `prefix_ids` and `suffix_ids` around it. A rendered chat has them already.
        """
        ids: list[int] = self._backend.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids, without special tokens unless `special` is set."""
        return self._backend.decode(list(ids), skip_special_tokens=not special)

    def token(self, number: int) -> str | None:
        """The token with this id as the tokenizer's file spells it; None where there is none."""
        return self._backend.id_to_token(number) if 0 <= number < 1 << 32 else None

    def stream(self, *, special: bool = False) -> TextStream:
        """A decoder for tokens that arrive one by one."""
        return TextStream(self, frozenset() if special else self._special_ids)

    def chat_prompt(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt for a chat. Raises UsageError if the model has no template, or it refuses the messages."""
        if self.chat_template is None:
            raise UsageError("this model has no chat template: give a plain prompt, without --chat.")
        try:
            return render_chat(self.chat_template, messages, self._names, add_generation_prompt=add_generation_prompt)
        except jinja2.TemplateError as error:
            why = str(error).rstrip(".")
            raise UsageError(
                f"the model's chat template refuses these messages: {why}. Give a plain prompt."
            ) from error

    def chat_format(self) -> ChatFormat | None:
        """The model's chat template as a ChatFormat; None if there is no template or slots cannot express it."""
        return None if self.chat_template is None else derive_format_sandboxed(self.chat_template, self._names)

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)

    def _around(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What is put before and after a text."""
        bare, whole = (tuple(self.encode(text, add_special_tokens=add)) for add in (False, True))
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return whole[:at], whole[at + len(bare) :]
        raise ValueError("its post-processor changes a text's own tokens")


class TextStream:
    """Decodes token ids one by one into whole characters; what `push` and `end` return adds up to the decoded text."""

    # A character has at most four bytes and a token at least one: this many tokens hold at least one whole character.
    _LONGEST = 4

    def __init__(self, tokenizer: Tokenizer, skipped: frozenset[int]) -> None:
        self._tokenizer, self._skipped = tokenizer, skipped
        # The last tokens whose text was returned: context, as decoders treat the beginning of a text differently.
        self._shown: list[int] = []
        self._held: list[int] = []  # tokens whose text was not returned yet

    def push(self, token: int) -> str:
        """The text that this token completes; empty while a character is incomplete."""
        if token in self._skipped:
            return ""
        self._held.append(token)
        text = self._pending()
        if text.endswith("\N{REPLACEMENT CHARACTER}") and len(self._held) < self._LONGEST:
            return ""
        return self._out(text)

    def end(self) -> str:
        """The rest of the text: empty, unless the last character was never completed."""
        return self._out(self._pending())

    def _pending(self) -> str:
        before = self._tokenizer.decode(self._shown, special=True)
        return self._tokenizer.decode(self._shown + self._held, special=True)[len(before) :]

    def _out(self, text: str) -> str:
        # A token without text of its own (the space that begins a text) remains context for the next.
        self._shown, self._held = (self._held if text else self._shown + self._held), []
        return text


@contextlib.contextmanager
def _reading(where: str, error: type[EdgeswError]) -> Iterator[None]:
    """Turns whatever the tokenizers library raises for a damaged tokenizer.json into `error`."""
    try:
        yield
    except BaseException as cause:
        # The library raises plain Exception, and panics with a class of its own that is none.
        if not isinstance(cause, Exception) and type(cause).__name__ != "PanicException":
            raise
        raise error(f"{where}: tokenizer.json is damaged ({' '.join(str(cause).split())}): {error.again}.") from cause


def stop_ids(value: Any) -> tuple[int, ...]:
    """The token ids in an `eos_token_id`: a single one, a list, or none (null; some models write -1)."""
    found = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(number for number in found if type(number) is int and 0 <= number < 2**31))


def check_charsmaps(content: bytes) -> None:
    """Raises ValueError for a table of characters to replace that would crash the process when the library reads it."""
    # Parsing takes a tenth of a second: only files with such a table, or its name spelled in escapes, are parsed.
    if b"precompiled_charsmap" not in content and b"\\u00" not in content:
        return
    places = [parse_json(content)]
    while places:
        place = places.pop()
        if isinstance(place, dict) and isinstance(table := place.get("precompiled_charsmap"), str):
            check_charsmap(base64.b64decode(table, validate=True))
        places += place.values() if isinstance(place, dict) else place if isinstance(place, list) else ()


def _table(files: Mapping[str, bytes], name: str, where: str, error: type[EdgeswError]) -> dict[str, Any]:
    """The content of a JSON file; empty if there is no such file."""
    try:
        table = parse_json(files.get(name, b"{}"))
    except ValueError as cause:
        raise error(f"{where}: {name} is damaged ({cause}): {error.again}.") from cause
    if not isinstance(table, dict):
        raise error(f"{where}: {name} is damaged (not a JSON object): {error.again}.")
    return table


def _names(settings: Mapping[str, Any]) -> dict[str, str]:
    """The special tokens by the names that templates know them by, as transformers binds them."""
    own = settings.get("model_specific_special_tokens")
    found = {name: settings.get(name) for name in NAMED_TOKENS} | (own if isinstance(own, dict) else {})
    texts = {name: _token(value) for name, value in found.items()}
    return {name: text for name, text in texts.items() if text is not None}


def _token(value: Any) -> str | None:
    """A special token's text, which some versions write as `{"content": text, ...}`."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _template(value: Any) -> str | None:
    """The chat template of tokenizer_config.json, which holds a single one, or named ones as a list or an object."""
    if isinstance(value, list):
        value = {entry.get("name"): entry.get("template") for entry in value if isinstance(entry, dict)}
    if isinstance(value, dict):
        value = value.get("default")
    return value if isinstance(value, str) else None
