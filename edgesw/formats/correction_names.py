"""How matrices and their corrections are named in model files: what writers, readers and `inspect` have to agree on.

A tensor is named for its matrix, with a suffix. A correction adds back what is held out of the matrix: whole columns,
single scalars.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class CorrectionNames:
    """The suffixes of the tensors that carry a matrix's corrections, in one format."""

    column_deltas: str
    """Held-out columns: what is added for them."""
    scalar_rows: str
    """Held-out scalars: their rows, ..."""
    scalar_columns: str
    """... their columns, ..."""
    scalar_deltas: str
    """... and what is added for each."""
    input_mask: str
    """What an input is multiplied by before it is quantized: 0 for the held-out columns, 1 for the others."""
    columns: str = ""
    """Held-out columns: which they are; empty where only the package's manifest lists them."""
    narrow: str = ""
    """Follows the suffix of deltas that are stored in float16 and widened by the graph."""

    def in_file(self) -> tuple[str, ...]:
        """The suffixes of all tensors in the file."""
        deltas = (self.column_deltas + self.narrow, self.scalar_deltas + self.narrow)
        named = (*deltas, self.columns, self.scalar_columns, self.scalar_rows, self.input_mask)
        return tuple(suffix for suffix in named if suffix)


NARROW = "_stored"
"""ONNX: follows the name of a value that is stored in float16 and widened to float32 by the graph."""
COREML = CorrectionNames("_correction", "_scalar_rows", "_scalar_columns", "_scalar_deltas", "_kept")
ONNX = CorrectionNames(
    ".correction", ".scalar_rows", ".scalar_columns", ".scalar_correction", ".kept", columns=".spiking", narrow=NARROW
)
# ONNX: the parts of a matrix in blocks.
CODES, SCALES, ZERO_POINTS = ".codes", ".scales", ".zero_points"
FUSED = {("q_proj", "k_proj", "v_proj"): "qkv_proj", ("gate_proj", "up_proj"): "gate_up_proj"}
"""ONNX: kinds of matrices that read one input and may be a single product -> the kind that it is named for."""


def mil_name(name: str) -> str:
    """A canonical tensor name as MIL takes it: letters, digits, underscores."""
    return name.replace(".", "_")


def canonical_name(mil: str) -> str:
    """The canonical name of a matrix that is named `mil` in a Core ML program."""
    return re.sub(r"^layers_(\d+)_", r"layers.\1.", mil)
