"""LoadedTokenizer: a tokenizer in this process. Its files are not trusted: edgesw.text.tokenizer has the limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer as Backend

from edgesw.errors import CheckpointError, EdgeswError
from edgesw.text.tokenizer_files import (
    check_charsmaps,
    read_table,
    reading,
    special_tokens,
    stop_ids,
    template_of,
)

# Texts that show what is put around a text.
_PROBES = ("a", "b c d e")


class LoadedTokenizer:
    """A model's tokenizer, for a process that may crash, hang or grow over it; `from_files` creates one."""

    def __init__(self, backend: Backend, settings: Mapping[str, Any], eos: Iterable[int], template: str | None) -> None:
        """ValueError where what is put around a text depends on the text."""
        self._backend = backend
        backend.encode_special_tokens = settings.get("split_special_tokens") is True
        self.names = special_tokens(settings)
        self.bos_id, own = (self._id(self.names.get(f"{end}_token")) for end in ("bos", "eos"))
        self.eos_ids = tuple(dict.fromkeys([*([] if own is None else [own]), *eos]))
        around = {self._around(probe) for probe in _PROBES}
        if len(around) > 1:
            raise ValueError("its post-processor does more than put tokens before and after a text")
        ((self.prefix_ids, self.suffix_ids),) = around
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self.chat_template = template
        self.special_ids = frozenset(n for n, token in backend.get_added_tokens_decoder().items() if token.special)

    @classmethod
    def from_files(
        cls, files: Mapping[str, bytes], where: str = "tokenizer", error: type[EdgeswError] = CheckpointError
    ) -> LoadedTokenizer:
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

    def _id(self, token: str | None) -> int | None:
        return None if token is None else self._backend.token_to_id(token)

    def _around(self, text: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What is put before and after a text."""
        bare, whole = (tuple(self.encode(text, add_special_tokens=add)) for add in (False, True))
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return whole[:at], whole[at + len(bare) :]
        raise ValueError("its post-processor changes a text's own tokens")
