"""Provenance in words: what a person reads who has to trust a package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgesw.package.manifest import Manifest, PackagedSuperWeight, read_manifest
from edgesw.report.provenance import held_out, in_words, provenance


@pytest.fixture(scope="module")
def manifest(tiny_package: Path) -> Manifest:
    return read_manifest(tiny_package)


def settings(manifest: Manifest, **changes: object) -> Manifest:
    return replace(manifest, settings=replace(manifest.settings, **changes))


def test_it_is_words_not_python(manifest: Manifest) -> None:
    for each in (manifest, settings(manifest, bits=None, size=90_000, hold_out=False, activations="static")):
        text = " ".join(f"{label} {words}" for label, words in provenance(each).items())
        assert not any(sign in text for sign in ("None", "True", "False", "{", "[", "'"))
        assert (
            "Tiny (local folder)" in text
            and manifest.calibration is not None
            and manifest.calibration.text_sha256 in text
        )


def test_what_was_asked_for_is_named(manifest: Manifest) -> None:
    words = provenance(manifest)
    assert words["Asked for"] == "4 bits per weight in the layers"
    assert words["Context"] == "1,024 tokens" and words["Activations"] == "not quantized"
    assert words["Options of coreml"] == "compute gpu, lengths any, chunks 1, ablation no"
    assert words["Options of onnx"] == "portable no"
    assert "Revision" not in words and "Palettes" not in words
    changed = provenance(settings(manifest, bits=None, size=90_000, cluster_dim=2, activations="per-token"))
    assert changed["Asked for"] == "90.0 kB of weights for each target"
    assert (changed["Palettes"], changed["Activations"]) == ("up to 2 weights per entry", "8 bits, per-token")


def test_what_is_held_out_is_said_once_and_in_good_grammar(manifest: Manifest) -> None:
    """ "hold out True" next to "None are held out" told nobody anything."""
    one = (PackagedSuperWeight(0, 17, 101, 1.25),)
    found = replace(manifest, super_weights=one, held_out_columns={"layers.0.down_proj": [101]}, correction_bytes=396)
    assert held_out(found) == "1 super weight, 1 whole column: 396 B in each model"
    several = replace(found, held_out_columns={"layers.0.down_proj": [7, 101]}, correction_bytes=1_500)
    fraction = settings(several, hold_out_fraction=1e-4)
    assert held_out(fraction) == "1 super weight, 2 whole columns, 0.01% of the other scalars: 1.5 kB in each model"
    none = replace(manifest, super_weights=(), held_out_columns={}, correction_bytes=0)
    assert held_out(none) == "nothing (no super weights or outlier channels were found)"
    assert held_out(settings(none, hold_out=False)) == "nothing (converted with --no-hold-out)"


@pytest.mark.parametrize(
    ("value", "words"), [(True, "yes"), (False, "no"), (None, "not set"), ([], "any"), ([1, 64], "1, 64"), (2, "2")]
)
def test_values_are_written_as_people_write_them(value: object, words: str) -> None:
    assert in_words(value) == words
