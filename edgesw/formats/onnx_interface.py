"""The inputs of an ONNX model that writers and runtimes have to agree on."""

from __future__ import annotations

LOGITS_OFFSETS = "logits_offsets"
"""An optional input, int64 (k,): the tokens whose logits are wanted, counted from the last one: 0, -1 before it, ..."""
