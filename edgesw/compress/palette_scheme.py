"""PaletteScheme: codes are indices into a palette, which Core ML calls a look-up table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from edgesw.compress.capabilities import Capabilities
from edgesw.compress.output_error import OutputError
from edgesw.compress.palette import decode_palettes, encode_palettes, fit_palettes
from edgesw.compress.refine_palettes import refine_palettes, refine_vectors
from edgesw.compress.scheme import DensePart, Scheme
from edgesw.compress.vectors import fit_vectors
from edgesw.errors import UsageError

DEFAULT_GROUP = 16
# Palettes of vectors are large: by default as many rows share one as bring it to a sixteenth of a bit per weight.
VECTOR_PALETTE_BITS = 1 / 16


@dataclass(frozen=True)
class PaletteScheme(Scheme):
    """Each code is an index into a palette of 2**code_bits float16 entries; every `group` rows share one, or with 0 the
    whole matrix. An entry is one value, or `vector` values: those of neighbouring rows in a column."""

    vector: int = 1

    kind: ClassVar[str] = "palette"

    @classmethod
    def planned(
        cls, rows: int, columns: int, bits: int, group: int | None, can: Capabilities, cluster_dim: int
    ) -> PaletteScheme:
        # The longest vectors of up to `cluster_dim` values whose codes have a width of the format.
        lengths = (n for n in (4, 2) if n <= cluster_dim and rows % n == 0 and n * bits in can.widths[cls.kind])
        vector = next(lengths, 1)
        if group is None:
            enough = 16 * vector * 2 ** (bits * vector) / (columns * VECTOR_PALETTE_BITS)
            group = DEFAULT_GROUP if vector == 1 else max(DEFAULT_GROUP, round(enough))
        if group < 0:
            raise UsageError(
                f"--group-size {group} is not a valid size: give a positive number, or 0 for one palette per matrix."
            )
        return cls(bits, can.group(group, rows, vector) if group or not can.whole_groups else 0, vector)

    @property
    def code_bits(self) -> int:
        return self.bits * self.vector

    @property
    def shared_rows(self) -> int:
        return max(self.group, self.vector)

    def stored_bytes(self, rows: int, columns: int) -> int:
        palettes = -(-rows // (self.group or rows)) * 2**self.code_bits * self.vector * 2
        return -(-rows * columns * self.bits // 8) + palettes

    def text(self, columns: int | None = None) -> str:
        width = f"{self.bits} bits, vectors of {self.vector}" if self.vector > 1 else f"{self.bits} bits"
        return f"palette {width}, " + (f"groups of {self.group} rows" if self.group else "per tensor")

    def fit(self, weights: np.ndarray, importance: np.ndarray | None, exact: np.ndarray | None) -> PaletteCodes:
        if self.vector > 1:
            palettes, codes = fit_vectors(weights, self.code_bits, self.group, self.vector, importance, exact)
        else:
            palettes = fit_palettes(weights, self.bits, self.group, importance, exact)
            codes = encode_palettes(weights, palettes, self.group)
        return PaletteCodes(self, codes, palettes)

    def restored(self, arrays: Mapping[str, np.ndarray]) -> PaletteCodes:
        stored: dict[str, Any] = dict(arrays)
        return PaletteCodes(self, **stored)


@dataclass(frozen=True)
class PaletteCodes(DensePart):
    """Indices and palettes."""

    scheme: PaletteScheme
    palettes: np.ndarray
    """Float16 (groups, 2**bits), each ascending; of vectors (groups, 2**code_bits, vector), in no order."""

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.codes.shape
        return rows * self.scheme.vector, columns

    def decode(self) -> np.ndarray:
        return decode_palettes(self.codes, self.palettes, self.scheme.group)

    def decode_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        vector, values = self.scheme.vector, self.palettes.astype(np.float32)
        codes = self.codes[rows // vector, columns]
        group = rows // (self.scheme.group or self.shape[0])
        return values[group, codes] if vector == 1 else values[group, codes, rows % vector]

    def refined(self, error: OutputError) -> PaletteCodes:
        refine = refine_palettes if self.scheme.vector == 1 else refine_vectors
        codes, palettes = refine(error, self.codes, self.palettes, self.scheme.group)
        return replace(self, codes=codes, palettes=palettes)
