"""Tokenizer: text to token ids and back, from the files of a package or checkpoint.

The files are downloaded, and a tokenizer can be made that hangs, fills the memory or ends the process. So it works in
a process with limits, and what goes beyond them is one error that names the file.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgesw.errors import CheckpointError, EdgeswError, UsageError
from edgesw.system.bounded_process import Failed, Overrun, Restarted
from edgesw.text.chat_format import ChatFormat, Message
from edgesw.text.chat_sandbox import TEXT_PROCESS, derive_format_sandboxed, render_chat_sandboxed
from edgesw.text.text_stream import TextStream
from edgesw.text.tokenizer_files import LARGEST, TOKENIZER_FILES

SECONDS, SECONDS_A_MB = 10.0, 20.0
"""The time limit of a call, and what each megabyte of text or files adds: twenty times what sound tokenizers take."""
MEMORY, MEMORY_A_BYTE = 1 << 30, 2000
"""What a call may allocate, and what each byte of a text adds."""
FILE_MEMORY_A_BYTE = 100
"""What each byte of tokenizer.json adds when it is loaded."""
MOST, MOST_A_BYTE = 64 << 20, 100
"""The longest answer in bytes, and what each byte of a text or token adds."""

_numbers = itertools.count(1)
_dropped: list[int] = []  # tokenizers that nobody has any more, and that the process still holds


class Tokenizer:
    """A model's tokenizer and chat template; `from_files` and `from_folder` create one.

    A call that a damaged tokenizer.json lets fail raises the error that `from_files` was given.
    """

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

    def __init__(self, files: Mapping[str, bytes], where: str, error: type[EdgeswError]) -> None:
        self._files, self._where, self._error = dict(files), where, error
        self._number = next(_numbers)
        weakref.finalize(self, _dropped.append, self._number).atexit = False
        found = self._load()
        self.bos_id, self.vocab_size = found["bos_id"], found["vocab_size"]
        self.eos_ids, self.prefix_ids, self.suffix_ids = (
            tuple(found[key]) for key in ("eos_ids", "prefix_ids", "suffix_ids")
        )
        self.chat_template, self._names = found["chat_template"], found["names"]
        self._special_ids = frozenset(found["special_ids"])

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], where: str = "tokenizer", error: type[EdgeswError] = CheckpointError
    ) -> Tokenizer:
        """A tokenizer from files, name -> content (see TOKENIZER_FILES; only tokenizer.json is required).

        Raises `error`, in one line that begins with `where`, for a missing or damaged file.
        """
        return cls({name: files[name] for name in TOKENIZER_FILES if name in files}, where, error)

    @classmethod
    def from_folder(cls, folder: str | Path, error: type[EdgeswError] = CheckpointError) -> Tokenizer:
        """A tokenizer from the folder of a checkpoint or of a package (pass PackageError). Raises as `from_files`."""
        found = [path for name in TOKENIZER_FILES if (path := Path(folder) / name).is_file()]
        for path in found:
            if path.stat().st_size > LARGEST:
                raise error(f"{folder}: {path.name} is larger than any tokenizer's: {error.again}.")
        return cls.from_files({path.name: path.read_bytes() for path in found}, str(folder), error)

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """The token ids of a text, as transformers gives them; special tokens written out in it are recognised.

        `add_special_tokens` puts `prefix_ids` and `suffix_ids` around it. A rendered chat has them already.
        """
        try:
            size = len(text.encode("utf-8"))
        except UnicodeEncodeError as error:
            raise UsageError(f"the text is not Unicode ({error.reason} at {error.start}): give it as UTF-8.") from error
        given = {"text": text, "add_special_tokens": add_special_tokens}
        ids: list[int] = self._ask("encode", given, "encoding a text", size)
        return ids

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids, without special tokens unless `special` is set."""
        return self.decode_each([ids], special=special)[0]

    def decode_each(self, each: Sequence[Sequence[int]], *, special: bool = False) -> list[str]:
        """The texts of several sequences of token ids."""
        numbers = [list(map(int, ids)) for ids in each]
        texts: list[str] = self._ask(
            "decode", {"ids": numbers, "special": special}, "decoding tokens", sum(map(len, numbers))
        )
        return texts

    def token(self, number: int) -> str | None:
        """The token with this id as the tokenizer's file spells it; None where there is none."""
        text: str | None = self._ask("token", {"token": number}, "looking up a token", 1)
        return text

    def stream(self, *, special: bool = False) -> TextStream:
        """A decoder for tokens that arrive one by one."""
        return TextStream(self, frozenset() if special else self._special_ids)

    def chat_prompt(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        """The prompt for a chat. Raises UsageError if the model has no template, or it refuses the messages."""
        if self.chat_template is None:
            raise UsageError("this model has no chat template: give a plain prompt, without --chat.")
        return render_chat_sandboxed(
            self.chat_template, messages, self._names, self._where, add_generation_prompt=add_generation_prompt
        )

    def chat_format(self) -> ChatFormat | None:
        """The model's chat template as a ChatFormat; None if there is no template or slots cannot express it."""
        return None if self.chat_template is None else derive_format_sandboxed(self.chat_template, self._names)

    def _load(self) -> dict[str, Any]:
        """Has the process load the files, and returns what it found in them."""
        given = {
            "number": self._number, "names": list(self._files), "where": self._where, "error": self._error.__name__,
        }  # fmt: skip
        size = sum(map(len, self._files.values()))
        while True:
            self._generation = TEXT_PROCESS.start()
            try:
                found, _ = TEXT_PROCESS.ask(
                    "load", given, list(self._files.values()), seconds=SECONDS + SECONDS_A_MB * size / 1e6,
                    memory=MEMORY + FILE_MEMORY_A_BYTE * size, most=MOST + MOST_A_BYTE * size,
                    generation=self._generation,
                )  # fmt: skip
                return dict(found)
            except Restarted:  # another thread's tokenizer has killed it in between
                continue
            except (Overrun, Failed) as error:
                raise self._damaged("reading it", error) from error

    def _ask(self, call: str, given: dict[str, Any], doing: str, size: int) -> Any:
        """What the process answers, which loads the files anew where it is another one by now."""
        forgotten = [_dropped.pop() for _ in range(len(_dropped))]
        given = {"number": self._number, **given, "forgotten": forgotten}
        while True:
            try:
                answer, _ = TEXT_PROCESS.ask(
                    call, given, seconds=SECONDS + SECONDS_A_MB * size / 1e6, memory=MEMORY + MEMORY_A_BYTE * size,
                    most=MOST + MOST_A_BYTE * size, generation=self._generation,
                )  # fmt: skip
                return answer
            except Restarted:
                self._load()
            except (Overrun, Failed) as error:
                raise self._damaged(doing, error) from error

    def _damaged(self, doing: str, why: Exception) -> EdgeswError:
        said = f"{doing} {why}" if isinstance(why, Overrun) else f"{doing}: {why}"
        return self._error(f"{self._where}: tokenizer.json is damaged ({said}): {self._error.again}.")
