"""What a manifest's values are checked for besides their types, so that whatever reads it later need not ask again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec

if TYPE_CHECKING:
    from edgesw.package.manifest import Manifest

MOST = 2**31
"""Of tokens, rows, columns and the like; larger numbers are in no model."""
MOST_LAYERS = 10_000
MOST_BYTES = 2**63
_SHA256 = re.compile(r"[0-9a-f]{64}")


def wrong_keys(manifest: Manifest) -> Iterator[str]:
    """The keys whose values have the right type but are none that a conversion writes."""
    yield from (f"decoder.{key}" for key in _decoder(manifest.decoder))
    yield from _settings(manifest)
    if not manifest.source.name:
        yield "source.name"
    if "edgesw" not in manifest.versions:
        yield "versions.edgesw"
    for name, ids in vars(manifest.tokenizer).items():
        if not all(0 <= number < MOST for number in ids):
            yield f"tokenizer.{name}"
    for path, file in manifest.files.items():
        if not 0 <= file.bytes < MOST_BYTES or not _SHA256.fullmatch(file.sha256):
            yield f"files.{path}"
    yield from _models(manifest)


def unwritable(value: Any) -> bool:
    """Whether a value of JSON holds text that is no Unicode (a lone surrogate), which nothing can write, or a whole
    number beyond any that a conversion writes."""
    if isinstance(value, dict):
        return any(unwritable(key) or unwritable(inner) for key, inner in value.items())
    if isinstance(value, list):
        return any(map(unwritable, value))
    if isinstance(value, str):
        return any("\ud800" <= character <= "\udfff" for character in value)
    return isinstance(value, int) and abs(value) >= MOST_BYTES


def _settings(manifest: Manifest) -> Iterator[str]:
    settings = manifest.settings
    if (settings.bits is None) == (settings.size is None):
        yield "settings.bits"
    limits = {"bits": 64, "size": MOST_BYTES, "embedding_bits": 64, "cluster_dim": 64, "context": MOST}
    for name, limit in limits.items():
        value = getattr(settings, name)
        if value is not None and not 0 < value < limit:
            yield f"settings.{name}"
    if not 0 <= settings.hold_out_fraction <= 1:
        yield "settings.hold_out_fraction"
    if not 0 <= manifest.correction_bytes < MOST_BYTES:
        yield "correction_bytes"


def _decoder(spec: DecoderSpec) -> Iterator[str]:
    sizes = ("hidden_size", "intermediate_size", "heads", "kv_heads", "head_dim", "vocab_size", "max_positions")
    yield from (name for name in sizes if not 0 < getattr(spec, name) < MOST)
    if not 0 < spec.layers <= MOST_LAYERS:
        yield "layers"
    if spec.kv_heads and spec.heads % spec.kv_heads:
        yield "kv_heads"
    for name in ("layer_rotary", "layer_windows"):
        if len(getattr(spec, name)) != spec.layers:
            yield name
    if not all(index is None or 0 <= index < len(spec.rotaries) for index in spec.layer_rotary):
        yield "layer_rotary"
    if not all(window is None or 0 < window < MOST for window in spec.layer_windows):
        yield "layer_windows"
    pairs = (each for rotary in spec.rotaries for each in (rotary.frequencies, rotary.long_frequencies or None))
    if not all(each is None or len(each) == spec.head_dim // 2 for each in pairs):
        yield "rotaries"


def _models(manifest: Manifest) -> Iterator[str]:
    shapes: dict[str, tuple[int, int] | None] = {}

    def shape(name: str) -> tuple[int, int] | None:
        if name not in shapes:
            shapes[name] = _shape(manifest.decoder, name)
        return shapes[name]

    if not manifest.models:
        yield "models"
    for target, model in manifest.models.items():
        if not model.path or not set(model.files) <= manifest.files.keys():
            yield f"models.{target}"
        if not 0 <= model.stored_bits < MOST:
            yield f"models.{target}.stored_bits"
        if not all(shape(name) for names in model.matrices.values() for name in names):
            yield f"models.{target}.matrices"
    for weight in manifest.super_weights:
        rows, columns = shape(f"layers.{weight.layer}.down_proj") or (0, 0)
        if not (0 <= weight.row < rows and 0 <= weight.column < columns):
            yield "super_weights"
    for name, held in manifest.held_out_columns.items():
        _, columns = shape(name) or (0, 0)
        if not all(0 <= column < columns for column in held):
            yield f"held_out_columns.{name}"


def _shape(spec: DecoderSpec, name: str) -> tuple[int, int] | None:
    """(rows, columns) of a matrix of the decoder; None for a name that is not one's."""
    try:
        parsed = TensorName.parse(name)
        shape = spec.matrix_shape(name)
    except (ValueError, KeyError):
        return None
    return shape if parsed.layer is None or parsed.layer < spec.layers else None
