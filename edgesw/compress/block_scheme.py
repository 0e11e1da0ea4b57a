"""BlockScheme: codes are integers, which a scale and a zero point for each block decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from edgesw.compress.blocks import decode_blocks, fit_blocks
from edgesw.compress.capabilities import Capabilities
from edgesw.compress.output_error import OutputError
from edgesw.compress.refine_blocks import refine_blocks
from edgesw.compress.scheme import DensePart, Scheme
from edgesw.errors import UsageError

DEFAULT_GROUP = 32
# Up to this width a zero point buys more than its bits cost (measured on SmolLM2, see docs/compression.md).
ZERO_POINT_BITS = 4


@dataclass(frozen=True)
class BlockScheme(Scheme):
    """Each code is an integer of `bits` bits; every `group` columns of a row share a float16 scale and, with
    `zero_points`, an integer zero point of the same width."""

    zero_points: bool = False

    kind: ClassVar[str] = "block"

    @classmethod
    def planned(
        cls, rows: int, columns: int, bits: int, group: int | None, can: Capabilities, cluster_dim: int
    ) -> BlockScheme:
        group = DEFAULT_GROUP if group is None else group
        if group < 1:
            raise UsageError(f"--group-size {group} is not a valid size: give a positive number.")
        return cls(bits, can.group(group, columns), bits <= ZERO_POINT_BITS)

    def stored_bytes(self, rows: int, columns: int) -> int:
        blocks = rows * -(-columns // self.group)
        each = self.group * self.bits + 16 + (self.bits if self.zero_points else 0)
        return -(-blocks * each // 8)

    def text(self, columns: int | None = None) -> str:
        blocks = "whole rows" if columns is not None and self.group >= columns else f"blocks of {self.group}"
        return f"block {self.bits} bits, {blocks}" + (", zero points" if self.zero_points else "")

    def fit(self, weights: np.ndarray, importance: np.ndarray | None, exact: np.ndarray | None) -> BlockCodes:
        return BlockCodes(self, *fit_blocks(weights, self.bits, self.group, self.zero_points, importance))

    def restored(self, arrays: Mapping[str, np.ndarray]) -> BlockCodes:
        stored: dict[str, Any] = dict(arrays)
        return BlockCodes(self, **stored)


@dataclass(frozen=True)
class BlockCodes(DensePart):
    """Integers, scales and zero points."""

    scheme: BlockScheme
    scales: np.ndarray
    """Float16 (rows, blocks)."""
    zero_points: np.ndarray | None = None
    """Uint8 (rows, blocks); None: 2**(bits - 1) everywhere."""

    def decode(self) -> np.ndarray:
        return decode_blocks(self.codes, self.scales, self._zeros, self.scheme.group)

    def decode_at(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        blocks = columns // self.scheme.group
        zeros = np.broadcast_to(self._zeros, self.scales.shape)[rows, blocks]
        return (self.codes[rows, columns].astype(np.float32) - zeros) * self.scales[rows, blocks].astype(np.float32)

    def refined(self, error: OutputError) -> BlockCodes:
        top = 2**self.scheme.bits - 1
        codes, scales = refine_blocks(error, self.codes, self.scales, self._zeros, self.scheme.group, top)
        return replace(self, codes=codes, scales=scales)

    @property
    def _zeros(self) -> np.ndarray:
        """The blocks' zero points, float32: (rows, blocks), or () where they are all the same."""
        if self.zero_points is None:
            return np.array(2 ** (self.scheme.bits - 1), np.float32)
        return self.zero_points.astype(np.float32)
