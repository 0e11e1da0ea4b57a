"""Canonical tensor names: one place that takes them apart and puts them together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_IN_LAYER = re.compile(r"layers\.(0|[1-9]\d*)\.(.+)", re.ASCII)


@dataclass(frozen=True)
class TensorName:
    """The canonical name of a tensor (see `DecoderSpec`): `layers.3.q_proj` has layer 3 and kind `q_proj`."""

    layer: int | None
    """None for what belongs to no layer: the embedding, the final norm and the head."""
    kind: str
    """`q_proj`, `mlp_norm`, ...; the kind of a bias is that of its matrix with a suffix, `q_proj.bias`."""

    @classmethod
    def parse(cls, text: str) -> TensorName:
        """The inverse of `str`. ValueError for a name that begins with `layers` but has no layer number or no kind."""
        if text.partition(".")[0] != "layers":
            return cls(None, text)
        match = _IN_LAYER.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is not a canonical tensor name")
        return cls(int(match[1]), match[2])

    def sibling(self, kind: str) -> TensorName:
        """The tensor of another kind in the same layer."""
        return replace(self, kind=kind)

    def __str__(self) -> str:
        return self.kind if self.layer is None else f"layers.{self.layer}.{self.kind}"


def down_proj(layer: int) -> str:
    """The canonical name of the matrix that super weights are in."""
    return str(TensorName(layer, "down_proj"))
