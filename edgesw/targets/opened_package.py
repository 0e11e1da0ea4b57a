"""Package: a package on disk, opened to be run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgesw.errors import EdgeswError, PackageError, UsageError
from edgesw.package.manifest import Manifest, read_manifest
from edgesw.package.publish import check_files
from edgesw.runtime.generate import generate
from edgesw.runtime.packaged_decoder import PackagedDecoder, feed
from edgesw.targets.registry import has_ablation, open_decoder
from edgesw.text.token_ids import check_ids
from edgesw.text.tokenizer import Tokenizer


class Package:
    """A package that `convert` wrote.

    Raises UsageError for a folder that is not one, PackageError where files are missing or the manifest is damaged.
    """

    path: Path
    manifest: Manifest
    """What the package is and what it was made from."""
    tokenizer: Tokenizer

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        check_files(self.path, self.manifest)
        self.tokenizer = Tokenizer.from_folder(self.path, PackageError)
        self._decoders: dict[tuple[str, str | None, bool], PackagedDecoder] = {}

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets that the package has models for."""
        return tuple(self.manifest.models)

    def generate(
        self,
        prompt: str,
        *,
        target: str | None = None,
        max_tokens: int = 64,
        chat: bool = False,
        compute: str | None = None,
        corrected: bool = True,
    ) -> Iterator[str]:
        """Continues a prompt greedily; yields text as whole characters are complete, without the prompt.

        `target` is one of `targets`, the first by default. `chat` puts the prompt into the model's chat template as a
        user's message. `compute` chooses the compute units of a Core ML model on a Mac. Not `corrected`: without what
        is held out, which needs a model converted with an ablation.

        Raises UsageError, at once, for a prompt that is empty or longer than the context, for a target or an ablation
        that the package does not have, and for `chat` where the model has no chat template.
        """
        _check_text(prompt, "the prompt")
        text = self.tokenizer.chat_prompt([{"role": "user", "content": prompt}]) if chat else prompt
        ids = self.tokenizer.encode(text, add_special_tokens=not chat)
        self._check_ids(self.tokenizer.encode(prompt, add_special_tokens=False), "the prompt", UsageError)
        self._check_ids(ids, "the chat template" if chat else "the prompt", PackageError)
        stop = self.manifest.tokenizer.stop_ids
        tokens = generate(self._decoder(target, compute, corrected), ids, stop, max_tokens)
        return self._texts(tokens)

    def logits(
        self,
        text: str | Sequence[int],
        *,
        target: str | None = None,
        compute: str | None = None,
        corrected: bool = True,
    ) -> np.ndarray:
        """The logits after each token of a text or of token ids: float32 (tokens, vocabulary).

        A text is encoded as the model's tokenizer does, with what that puts before and after it; ids are taken as they
        are. The other arguments and the errors are those of `generate`.
        """
        if isinstance(text, str):
            _check_text(text, "the text")
        ids = self.tokenizer.encode(text) if isinstance(text, str) else list(text)
        self._check_ids(ids, "the text", UsageError)
        decoder = self._decoder(target, compute, corrected)
        decoder.reset()
        return feed(decoder, np.array(ids, np.int64))

    def _check_ids(self, ids: Sequence[int], where: str, error: type[EdgeswError]) -> None:
        vocabulary = self.manifest.decoder.vocab_size
        check_ids(ids, vocabulary, self.tokenizer, f"'{self.path}': {where}", error)

    def _decoder(self, target: str | None, compute: str | None, corrected: bool) -> PackagedDecoder:
        """An open decoder, which is opened once. The default target is the first that can do what is asked."""
        if target is None:
            able = [name for name in self.targets if corrected or has_ablation(self.manifest, name)]
            target = next(iter(able or self.targets))
        key = (target, compute, corrected)
        if key not in self._decoders:
            self._decoders[key] = open_decoder(self.path, self.manifest, target, compute=compute, corrected=corrected)
        return self._decoders[key]

    def _texts(self, tokens: Iterator[int]) -> Iterator[str]:
        stream = self.tokenizer.stream()
        for token in tokens:
            if piece := stream.push(token):
                yield piece
        if piece := stream.end():
            yield piece


def _check_text(text: str, what: str) -> None:
    """UsageError for what no tokenizer takes: bytes that a terminal passed on although they are not UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{what} is not UTF-8 at character {error.start + 1}: write it in UTF-8.") from error
