"""Checkpoint: a float model on disk, as a DecoderSpec and tensors that are read on demand."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgesw.checkpoint.generation_config import generation_config
from edgesw.checkpoint.gguf import GgufReader
from edgesw.checkpoint.gguf_config import config_from_gguf
from edgesw.checkpoint.gguf_tokenizer_process import bounded_tokenizer_from_gguf
from edgesw.checkpoint.hf_config import normalized_config
from edgesw.checkpoint.hf_tokenizer import tokenizer_from_folder
from edgesw.checkpoint.places import Place, find_places, gguf_place, hf_place
from edgesw.checkpoint.reader import Rows, TensorReader, all_finite
from edgesw.checkpoint.safetensors import SafetensorsReader
from edgesw.checkpoint.source import Source, resolve
from edgesw.checkpoint.stored_names import LEFTOVERS, absent_biases, refuse_other_kinds, stored_names
from edgesw.checkpoint.tied_head import Head, head_of, same_table, same_values
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import CheckpointError, UnsupportedError
from edgesw.families.family import Family
from edgesw.families.registry import family_of, family_of_gguf
from edgesw.files.json_file import read_json

# What edgesw logs is for programs that ask for it; the command line prints it as warnings.
logging.getLogger("edgesw").addHandler(logging.NullHandler())
_LOG = logging.getLogger(__name__)


class Checkpoint:
    """A float model whose tensors have canonical names (see DecoderSpec); `open_checkpoint` opens one.

    The `lm_head` of a tied model is its embedding.
    """

    def __init__(
        self,
        source: Source,
        spec: DecoderSpec,
        config: dict[str, Any],
        reader: TensorReader,
        places: dict[str, Place],
        tokenizer: Callable[[], dict[str, bytes]],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.notes = notes
        """What a user should know about how the files were read, where they contradict each other."""
        self.source, self.spec, self.config = source, spec, config
        self._reader, self._places, self._tokenizer = reader, places, functools.cache(tokenizer)

    def names(self) -> list[str]:
        """Canonical names of all tensors, embedding first; `lm_head` only if it has weights of its own."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """(rows, columns) of a matrix, (channels,) of a norm. KeyError for a name that is not canonical."""
        shape = self.spec.shape(self._own(name))
        if shape is None:
            raise KeyError(name)
        return shape

    def tensor(self, name: str) -> np.ndarray:
        """The whole tensor, float32, read from disk at each call. CheckpointError if it cannot be read, or holds NaN or
        infinity."""
        return self._read(self._checked(name), None)

    def rows(self, name: str, rows: Rows) -> np.ndarray:
        """Only these rows of the tensor, float32 (rows, columns): the others are neither read nor dequantized."""
        return self._read(self._checked(name), rows)

    def tokenizer_files(self) -> dict[str, bytes]:
        """The tokenizer's files as a package has them, name -> content. CheckpointError where they cannot be read."""
        return dict(self._tokenizer())

    def check(self, unneeded: tuple[str, ...], spare: str | None = None) -> None:
        """Raises CheckpointError unless every tensor is present with the shape the config implies.

        Raises UnsupportedError for a type that cannot be read, and for any further tensor but `spare` whose name does
        not end with one of `unneeded`: silently ignoring a bias, say, would give a different model.
        """
        missing = [place.name for place in self._places.values() if place.name not in self._reader.names()]
        if missing:
            raise CheckpointError(
                f"{self.source.path}: tensor '{missing[0]}' is missing ({len(missing)} of {len(self._places)} are): "
                "the config does not match the weights, or a file is incomplete: download both again."
            )
        for name in self._places:
            self._checked(name)
        others = self._reader.names() - {place.name for place in self._places.values()} - {spare}
        unused = sorted(name for name in others if not name.endswith(unneeded))
        if unused:
            raise UnsupportedError(
                f"{self.source.path}: holds tensor '{unused[0]}' ({len(unused)} such), which is not part of a "
                f"{self.spec.family} decoder: use another model."
            )

    def _read(self, place: Place, rows: Rows | None) -> np.ndarray:
        if place.order is not None:
            order = place.order()
            rows = order if rows is None else order[rows]
        values = self._reader.read(place.name, rows)
        if not all_finite(values):
            raise CheckpointError(
                f"{self.source.path}: tensor '{place.name}' holds NaN or infinity: it is damaged. Download it again."
            )
        return values + np.float32(place.shift) if place.shift else values

    def _own(self, name: str) -> str:
        return "embed_tokens" if name == "lm_head" and self.spec.tied_head else name

    def _checked(self, name: str) -> Place:
        place = self._places[self._own(name)]
        found, expected = self._reader.shape(place.name), self.shape(name)
        if place.stored_rows is not None:
            expected = (place.stored_rows, *expected[1:])
        if found != expected:
            raise CheckpointError(
                f"{self.source.path}: tensor '{place.name}' has shape {found}, but the config implies {expected}: "
                "download both again."
            )
        return place


def open_checkpoint(name: str, revision: str | None = None) -> Checkpoint:
    """Opens the model that a folder, a .gguf file, a recipe's name or a hub id names, and checks that it is complete.

    Where files contradict each other and transformers decides between them, so does edgesw, and logs a warning. Raises
    UsageError for an unknown name or architecture, CheckpointError for missing or damaged files, UnsupportedError for
    a feature that edgesw does not implement.
    """
    source = resolve(name, revision)
    checkpoint = _open_gguf(source) if source.kind == "gguf" else _open_safetensors(source)
    for note in checkpoint.notes:
        _LOG.warning("%s: %s.", source.path, note)
    return checkpoint


def read_spec(name: str) -> tuple[Source, DecoderSpec]:
    """A model's source and shape, from config.json (all that is fetched of a model on the hub) or GGUF metadata.

    Its tensors are not checked. Raises as `open_checkpoint`.
    """
    source = resolve(name, weights=False)
    if source.kind == "gguf":
        return source, _gguf_spec(source, GgufReader(source.path))[2]
    return source, _config_spec(source)[2]


def _config_spec(source: Source) -> tuple[dict[str, Any], Family, DecoderSpec]:
    where = source.path / "config.json"
    try:
        config = read_json(where)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{where}: cannot be read as JSON ({error}): download it again.") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{where}: not a JSON object: download it again.")
    family = family_of(config, str(where))
    return config, family, family.decoder_spec(normalized_config(config, family, str(where)), str(where))


def _gguf_spec(source: Source, reader: GgufReader) -> tuple[dict[str, Any], Family, DecoderSpec]:
    where = f"{source.path} (metadata)"
    family = family_of_gguf(reader.metadata.get("general.architecture"), str(source.path))
    config = config_from_gguf(reader, family)
    return config, family, family.decoder_spec(normalized_config(config, family, where), where)


def _open_safetensors(source: Source) -> Checkpoint:
    config, family, spec = _config_spec(source)
    reader = SafetensorsReader(source.path)
    refuse_other_kinds(reader.names(), str(source.path))
    wanted = find_places(family, replace(spec, tied_head=False), hf_place)
    stored = stored_names(reader.names(), (place.name for place in wanted.values()), str(source.path))
    embedding, lm_head = (stored.get(wanted[name].name) for name in ("embed_tokens", "lm_head"))
    head = head_of(reader, embedding, lm_head, spec.tied_head, same_values)
    absent = absent_biases(spec, wanted, stored)
    spec = replace(spec, tied_head=head.tied, biased=tuple(kind for kind in spec.biased if kind not in absent))
    places = {
        name: replace(place, name=stored.get(place.name, place.name))
        for name, place in find_places(family, spec, hf_place).items()
    }
    _use_table(places, head)
    biases = f"the config announces biases of {', '.join(absent)} that are not stored: zero, as by transformers"
    notes = (reader.note, head.note, biases if absent else None)
    checkpoint = Checkpoint(
        source, spec, config, reader, places, lambda: _tokenizer_files(source.path, config), tuple(filter(None, notes))
    )
    checkpoint.check((*LEFTOVERS, *family.ignored), head.spare)
    return checkpoint


def _open_gguf(source: Source) -> Checkpoint:
    reader = GgufReader(source.path)
    config, family, spec = _gguf_spec(source, reader)
    names = (family.tensors[name].gguf for name in ("embed_tokens", "lm_head"))
    embedding, lm_head = (name if name in reader.names() else None for name in names)
    head = head_of(reader, embedding, lm_head, spec.tied_head, same_table)
    spec = replace(spec, tied_head=head.tied)
    places = find_places(family, spec, gguf_place)
    _use_table(places, head)
    checkpoint = Checkpoint(
        source, spec, config, reader, places, lambda: bounded_tokenizer_from_gguf(reader.metadata, str(source.path)),
        tuple(filter(None, (head.note,))),
    )  # fmt: skip
    checkpoint.check((*LEFTOVERS, *family.ignored), head.spare)
    return checkpoint


def _use_table(places: dict[str, Place], head: Head) -> None:
    """Lets the embedding be read from the tensor that is both embedding and head."""
    if head.table is not None:
        places["embed_tokens"] = replace(places["embed_tokens"], name=head.table)


def _tokenizer_files(folder: Path, config: dict[str, Any]) -> dict[str, bytes]:
    return {**tokenizer_from_folder(folder), "generation_config.json": generation_config(folder, config)}
