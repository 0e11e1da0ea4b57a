"""Canonical tensor names, taken apart and put together."""

from __future__ import annotations

import pytest

from edgesw.decoder.names import TensorName, down_proj


@pytest.mark.parametrize(
    ("text", "layer", "kind"),
    [
        ("layers.0.q_proj", 0, "q_proj"),
        ("layers.31.mlp_output_norm", 31, "mlp_output_norm"),
        ("layers.7.k_proj.bias", 7, "k_proj.bias"),
        ("embed_tokens", None, "embed_tokens"),
        ("norm", None, "norm"),
        ("q_proj", None, "q_proj"),
    ],
)
def test_a_name_is_read_and_written(text: str, layer: int | None, kind: str) -> None:
    """A name that changed on the way would be looked up in vain, or be another matrix."""
    name = TensorName.parse(text)
    assert (name.layer, name.kind) == (layer, kind)
    assert str(name) == text


@pytest.mark.parametrize(
    "text", ["layers", "layers.", "layers.3", "layers.3.", "layers.x.q_proj", "layers.-1.q_proj", "layers.03.q_proj",
             "layers.+3.q_proj", "layers.{layer}.q_proj", "layers.\N{ARABIC-INDIC DIGIT THREE}.q_proj"],
)  # fmt: skip
def test_what_no_layer_has_is_refused(text: str) -> None:
    """Taken for a matrix outside the layers, it would be compressed with the embedding's scheme."""
    with pytest.raises(ValueError, match="not a canonical tensor name"):
        TensorName.parse(text)


def test_a_sibling_is_in_the_same_layer() -> None:
    assert str(TensorName.parse("layers.12.q_proj").sibling("v_proj")) == "layers.12.v_proj"
    assert down_proj(5) == "layers.5.down_proj"
