"""Names in model files: packages that are already out there are read by them, so they may never change."""

from __future__ import annotations

import pytest

from edgesw.formats.correction_names import COREML, ONNX, canonical_name, mil_name


def test_the_names_in_files_are_those_of_earlier_packages() -> None:
    """A renamed tensor would be missing from every older package, whose matrices would read as if nothing were held
    out."""
    assert set(ONNX.in_file()) == {
        ".correction_stored", ".spiking", ".scalar_columns", ".scalar_rows", ".scalar_correction_stored", ".kept",
    }  # fmt: skip
    assert set(COREML.in_file()) == {"_correction", "_scalar_columns", "_scalar_rows", "_scalar_deltas", "_kept"}


@pytest.mark.parametrize("name", ["layers.0.q_proj", "layers.12.down_proj", "embed_tokens", "lm_head"])
def test_a_name_in_a_program_is_read_back(name: str) -> None:
    """`inspect` would list matrices that no other command knows."""
    assert canonical_name(mil_name(name)) == name
