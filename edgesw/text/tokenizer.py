"""Tokenizer: text to token ids and back, from the files of a package or checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from tokenizers import Tokenizer as Backend

from edgesw.errors import CheckpointError, EdgeswError, UsageError
from edgesw.text.chat import Message, render_chat
from edgesw.text.chat_format import ChatFormat
from edgesw.text.chat_format_sandbox import derive_format_sandboxed
from edgesw.text.tokenizer_files import (
    TOKENIZER_FILES,
    check_charsmaps,
    read_table,
    reading,
    special_tokens,
    stop_ids,
    template_of,
)

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
        self._names = special_tokens(settings)
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
        with reading(where, error):
            check_charsmaps(files["tokenizer.json"])
            backend = Backend.from_str(files["tokenizer.json"].decode("utf-8"))
            backend.no_truncation()
            backend.no_padding()
        settings = read_table(files, "special_tokens_map.json", where, error)
        settings |= {
            key: v for key, v in read_table(files, "tokenizer_config.json", where, error).items() if v is not None
        }
        eos = read_table(files, "generation_config.json", where, error).get("eos_token_id")
        try:
            file = files.get("chat_template.jinja")
            template = template_of(settings.get("chat_template")) if file is None else file.decode("utf-8")
        except UnicodeDecodeError as cause:
            raise error(f"{where}: chat_template.jinja is damaged ({cause}): {error.again}.") from cause
        with reading(where, error):
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
