"""DecoderSpec: what a decoder is, in numbers and switches. What stands right of the checkpoint reads only this."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

# The matrices of one layer, in the order in which a forward pass meets them.
LAYER_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class DecoderSpec:
    """Shape and switches of a decoder-only transformer.

    Canonical tensor names, used everywhere: `embed_tokens`, `layers.N.input_layernorm`, `layers.N.q_proj` (k, v, o),
    `layers.N.post_attention_layernorm`, `layers.N.gate_proj` (up, down), `norm`, `lm_head`. Matrices are
    (rows, columns) = (output channels, input channels), as stored by Hugging Face, rotary halves not interleaved.
    """

    family: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_positions: int
    norm_eps: float
    rope_theta: float
    tied_head: bool
    bos_token_id: int | None
    eos_token_ids: tuple[int, ...]

    def matrix_shape(self, name: str) -> tuple[int, int]:
        """(rows, columns) of the matrix with this canonical name. KeyError for a name that is no matrix."""
        hidden, inner = self.hidden_size, self.intermediate_size
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q_proj": (query, hidden),
            "k_proj": (key, hidden),
            "v_proj": (key, hidden),
            "o_proj": (hidden, query),
            "gate_proj": (inner, hidden),
            "up_proj": (inner, hidden),
            "down_proj": (hidden, inner),
            "embed_tokens": (self.vocab_size, hidden),
            "lm_head": (self.vocab_size, hidden),
        }[name.rsplit(".", 1)[-1]]

    def matrices(self) -> list[str]:
        """Canonical names of all matrices of the layers, in forward order (without embedding and head)."""
        return [f"layers.{layer}.{kind}" for layer in range(self.layers) for kind in LAYER_MATRICES]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DecoderSpec:
        known = {field.name for field in fields(cls)}
        picked = {key: value for key, value in values.items() if key in known}
        picked["eos_token_ids"] = tuple(picked.get("eos_token_ids", ()))
        return cls(**picked)
