"""The manifest of a package: what it is, what it was made from, and the SHA-256 of each of its files."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import PackageError, UsageError
from edgesw.files.json_file import read_json
from edgesw.files.safe_path import inside
from edgesw.files.type_check import structure
from edgesw.outliers.agreement import RecipeAgreement
from edgesw.package.manifest_check import unwritable, wrong_keys
from edgesw.recipes.coordinates import Coordinates
from edgesw.text.chat_format import ChatFormat

MANIFEST = "manifest.json"
FORMAT = 8
"""Raised whenever the keys or what they mean change; packages of another format are refused."""


@dataclass(frozen=True)
class PackageSource:
    """The checkpoint that a package was made from."""

    name: str
    origin: str
    """Where it came from, in words."""
    revision: str | None
    content: str | None = None
    """`content_hash` of its configuration and weights; None where it is not known."""


@dataclass(frozen=True)
class PackageSettings:
    """What the conversion was asked for, as far as it is the same for all targets."""

    bits: float | None
    """Code bits per weight; None where a size was asked for."""
    size: int | None
    """Bytes of a model's weights, where that was asked for."""
    embedding_bits: int
    cluster_dim: int
    context: int
    """Number of tokens that the caches hold."""
    activations: str | None
    """Granularity of 8-bit activations; None for activations as the runtime computes them."""
    hold_out: bool
    hold_out_fraction: float
    effort: str
    """How much was done for quality: "fast", "balanced" or "best"."""


@dataclass(frozen=True)
class PackagedCalibration:
    """The text that the matrices were fitted on."""

    text_sha256: str
    windows: int
    """Those that error compensation read; 0 without it."""
    products: str
    """The type of what compensation multiplied with the text's inputs. Another gives other codes."""


@dataclass(frozen=True)
class PackagedModel:
    """The model of one target."""

    path: str
    """In the package: a file or a folder."""
    files: tuple[str, ...]
    """All files that the target alone needs, by path in the package."""
    scheme: str
    """How the layers' matrices are stored, in words."""
    stored_bits: float
    """Bits per weight of the layers' matrices, with palettes, scales and zero points and without corrections."""
    matrices: dict[str, list[str]]
    """Scheme in words -> the canonical names of the matrices stored that way."""
    options: dict[str, Any]
    """The target's own options: its target object reads them."""
    checked: Literal["run", "structure"]
    """How the conversion checked it: by running it, or, where the machine could not, by its structure alone."""


@dataclass(frozen=True)
class PackagedSuperWeight:
    """A super weight that is held out."""

    layer: int
    row: int
    column: int
    value: float

    @property
    def coordinates(self) -> Coordinates:
        return self.layer, self.row, self.column


@dataclass(frozen=True)
class PackagedTokenizer:
    """What a runtime needs to know of the tokenizer besides its files, so that none has to derive it."""

    prefix_ids: tuple[int, ...]
    """The tokens before a text. A rendered chat gets none."""
    suffix_ids: tuple[int, ...]
    """The tokens after a text."""
    stop_ids: tuple[int, ...]
    """The tokens that end a text or a turn."""


@dataclass(frozen=True)
class PackagedFile:
    """What a file of the package was when the package was written."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class Manifest:
    """What a package is and what it was made from. Holds neither a clock nor a path of the machine: equal conversions
    give equal bytes."""

    source: PackageSource
    recipe: str | None
    settings: PackageSettings
    versions: dict[str, str]
    decoder: DecoderSpec
    models: dict[str, PackagedModel]
    """By target."""
    super_weights: tuple[PackagedSuperWeight, ...]
    calibration: PackagedCalibration | None
    files: dict[str, PackagedFile]
    """By path in the package."""
    agreement: RecipeAgreement | None
    """Between the model's recipe and what was detected."""
    held_out_columns: dict[str, list[int]]
    """By matrix name, those of the super weights included."""
    correction_bytes: int
    """Bytes in each model of what adds the held-out values back."""
    tokenizer: PackagedTokenizer
    chat_format: ChatFormat | None
    """The chat template as pieces of text, where it can be written that way."""

    @property
    def context(self) -> int:
        return self.settings.context

    def model_bytes(self, target: str) -> int:
        """The size of a target's model: of all files that it needs."""
        return sum(self.files[name].bytes for name in self.models[target].files)

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values, without its format."""
        values = asdict(self)
        return {**values, "agreement": self.agreement.to_dict() if self.agreement else None}

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **self.to_dict()}, indent=2) + "\n"


def read_manifest(package: Path) -> Manifest:
    """The manifest of a package. Raises UsageError where there is none, PackageError where it is damaged or of another
    format."""
    path = package / MANIFEST
    if not path.is_file():
        what = "is not a folder" if not package.is_dir() else f"has no {MANIFEST}"
        raise UsageError(f"'{package}' {what}: give a folder that edgesw convert made.")
    try:
        values = read_json(path)
        found = values.pop("format")
        if type(found) is not int or found != FORMAT:
            shown = json.dumps(found)
            raise PackageError(f"{path}: format {shown} is not the one this version reads ({FORMAT}): convert again.")
        if unwritable(values):
            raise ValueError("a text that is not Unicode, or a number beyond all limits")
        if isinstance(values.get("agreement"), dict):
            values["agreement"].pop("contradicts", None)  # derived, for people who read the file
        manifest = structure(Manifest, values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(f"{path} is damaged ({error}): convert again.") from error
    paths = (name for model in manifest.models.values() for name in (model.path, *model.files))
    for name in (*manifest.files, *paths):
        if inside(package, name) is None:
            raise PackageError(f"{path} names a file outside the package: {name}. Convert again.")
    if wrong := next(wrong_keys(manifest), None):
        raise PackageError(f"{path} is damaged ('{wrong}' is not what it should be): convert again.")
    return manifest
