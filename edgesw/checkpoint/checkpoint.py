"""Checkpoint: a float model on disk, as a DecoderSpec and tensors that are read when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.checkpoint.config import Config
from edgesw.checkpoint.families import Family, Stored, family_of, family_of_gguf
from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_config import config_from_gguf
from edgesw.checkpoint.gguf_tokenizer import tokenizer_from_gguf
from edgesw.checkpoint.reader import Rows, TensorReader
from edgesw.checkpoint.safetensors import SafetensorsReader
from edgesw.checkpoint.source import Source, resolve
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.tokenizer import TOKENIZER_FILES


@dataclass(frozen=True)
class Place:
    """Where one canonical tensor is in the file."""

    name: str
    order: np.ndarray | None = None
    """Row numbers in the file, by canonical row; None where they are the same."""


class Checkpoint:
    """A model whose tensors go by canonical names (see DecoderSpec). `lm_head` of a tied model is the embedding.

    Get one from `open_checkpoint`.
    """

    def __init__(
        self,
        source: Source,
        spec: DecoderSpec,
        config: dict[str, Any],
        reader: TensorReader,
        places: dict[str, Place],
        tokenizer: Callable[[], dict[str, bytes]],
    ) -> None:
        self.source, self.spec, self.config = source, spec, config
        self._reader, self._places, self._tokenizer = reader, places, tokenizer

    def names(self) -> list[str]:
        """Canonical names of all tensors, embedding first; `lm_head` only when it has weights of its own."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """(rows, columns) of a matrix, (channels,) of a norm. KeyError for a name that is not canonical."""
        return expected_shape(self.spec, self._own(name))

    def tensor(self, name: str) -> np.ndarray:
        """The whole tensor, float32, read now and not kept. CheckpointError when it cannot be read."""
        place = self._checked(name)
        return self._reader.read(place.name, place.order)

    def rows(self, name: str, rows: Rows) -> np.ndarray:
        """These rows of the tensor, float32, (rows, columns): the others are neither read nor dequantised."""
        place = self._checked(name)
        return self._reader.read(place.name, rows if place.order is None else place.order[rows])

    def tokenizer_files(self) -> dict[str, bytes]:
        """File name -> content of what a tokenizer needs. CheckpointError when there is no tokenizer.json."""
        return self._tokenizer()

    def parameters(self) -> int:
        """How many scalars the model has; a tied head counts once."""
        return sum(prod(self.shape(name)) for name in self._places)

    def check(self, unneeded: tuple[str, ...]) -> None:
        """CheckpointError unless every tensor is there as the config asks for it and in a type that can be read.

        UnsupportedError for any other tensor, unless its name ends with one of `unneeded`: to pass over a bias in
        silence would give another model.
        """
        missing = [place.name for place in self._places.values() if place.name not in self._reader.names()]
        if missing:
            raise CheckpointError(
                f"{self.source.path}: tensor '{missing[0]}' is missing ({len(missing)} of {len(self._places)} are): "
                "the config does not belong to these weights, or a file is incomplete"
            )
        for name in self._places:
            self._checked(name)
        others = self._reader.names() - {place.name for place in self._places.values()}
        unused = sorted(name for name in others if not name.endswith(unneeded))
        if unused:
            raise UnsupportedError(
                f"{self.source.path}: holds tensor '{unused[0]}' ({len(unused)} such), for which a {self.spec.family} "
                "decoder has no place"
            )

    def _own(self, name: str) -> str:
        return "embed_tokens" if name == "lm_head" and self.spec.tied_head else name

    def _checked(self, name: str) -> Place:
        place = self._places[self._own(name)]
        found, expected = self._reader.shape(place.name), self.shape(name)
        if found != expected:
            raise CheckpointError(
                f"{self.source.path}: tensor '{place.name}' has shape {found}, but the config asks for {expected}"
            )
        return place


def open_checkpoint(name: str, revision: str | None = None) -> Checkpoint:
    """The model behind a folder, a .gguf file, a recipe's name or a hub id, with every tensor known to be there.

    Raises UsageError for a name or an architecture we do not know, CheckpointError for files that are missing or
    damaged, UnsupportedError for something in them that edgesw does not do.
    """
    source = resolve(name, revision)
    return _open_gguf(source) if source.kind == "gguf" else _open_safetensors(source)


def expected_shape(spec: DecoderSpec, name: str) -> tuple[int, ...]:
    """Shape of the tensor with this canonical name: what is no matrix is a norm over the hidden channels."""
    try:
        return spec.matrix_shape(name)
    except KeyError:
        if not name.endswith("norm"):
            raise
        return (spec.hidden_size,)


def _open_safetensors(source: Source) -> Checkpoint:
    where = source.path / "config.json"
    try:
        config = json.loads(where.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{where}: cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{where}: not a table of settings")
    family = family_of(config, str(where))
    spec = family.spec(Config(str(where), config, family.defaults))
    places = _places(family, spec, lambda stored: (stored.hf, None))
    reader = SafetensorsReader(source.path)
    checkpoint = Checkpoint(source, spec, config, reader, places, lambda: _files(source.path))
    checkpoint.check((*family.ignored, family.tensors["lm_head"].hf))
    return checkpoint


def _open_gguf(source: Source) -> Checkpoint:
    reader = GgufReader(source.path)
    family = family_of_gguf(reader.metadata.get("general.architecture"), str(source.path))
    config = config_from_gguf(reader, family)
    spec = family.spec(Config(f"{source.path} (metadata)", config, family.defaults))
    places = _places(family, spec, lambda stored: (stored.gguf, spec.head_dim if stored.gguf_interleaved else None))
    checkpoint = Checkpoint(
        source, spec, config, reader, places, lambda: tokenizer_from_gguf(reader.metadata, str(source.path))
    )
    checkpoint.check((*family.ignored, family.tensors["lm_head"].gguf))
    return checkpoint


def _places(
    family: Family, spec: DecoderSpec, stored_as: Callable[[Stored], tuple[str, int | None]]
) -> dict[str, Place]:
    """Canonical name -> place. `stored_as` gives the name in the file and, for interleaved rows, the head's size."""
    places = {}
    for canonical, stored in family.tensors.items():
        if canonical == "lm_head" and spec.tied_head:
            continue
        name, head_dim = stored_as(stored)
        for layer in range(spec.layers if "{layer}" in canonical else 1):
            key = canonical.format(layer=layer)
            order = None if head_dim is None else _interleaved_order(spec.matrix_shape(key)[0], head_dim)
            places[key] = Place(name.format(layer=layer), order)
    return places


def _interleaved_order(rows: int, head_dim: int) -> np.ndarray:
    """Row numbers that undo llama.cpp's permutation: its row 2i + half of a head is row i + half * head_dim / 2."""
    return np.arange(rows).reshape(-1, head_dim // 2, 2).swapaxes(1, 2).ravel()


def _files(folder: Path) -> dict[str, bytes]:
    files = {name: (folder / name).read_bytes() for name in TOKENIZER_FILES if (folder / name).is_file()}
    if "tokenizer.json" not in files:
        raise CheckpointError(
            f"{folder}: no tokenizer.json. Make one with transformers: "
            f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')"
        )
    return files
