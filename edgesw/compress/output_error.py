"""OutputError: the error of a matrix's product, which error compensation reduces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# Columns of a block, within which codes change together: H between them fits into a core's own cache. Kernels are
# compiled for this number, and their caches on disk do not notice another: delete them with a change.
WIDTH = 128
# Rows of a tile, on which one thread works: many, as it reads all of H in each pass, but a quarter of a small matrix.
# They do not depend on the number of threads, so nothing else does. They are whole vectors.
TILE, LEAST_TILE, TILE_STEP = 1024, 256, 64


@dataclass(frozen=True)
class OutputError:
    """tr((W - Q) H (W - Q)^T) for weights W, with H the second moments of the matrix's input, as a function of Q.

    Its gradients for Q are (W - Q) H, but for a factor. Products with H come in tiles of rows, and in blocks of columns
    within a tile: float32 (blocks, rows, WIDTH), with the last block padded.
    """

    weights: np.ndarray
    """W, float32 (rows, columns), zero where `exact` is True."""
    hessian: torch.Tensor
    """H, symmetric and positive definite, by blocks of its columns: float32 (blocks, columns, WIDTH)."""
    factors: torch.Tensor
    """The same in the type in which products with all of it are computed."""
    exact: np.ndarray
    """Bool (rows, columns): where the correction makes the product exact whatever the code, so there is no error."""

    @classmethod
    def of(
        cls, weights: np.ndarray, hessian: np.ndarray, exact: np.ndarray | None, products: torch.dtype | None
    ) -> OutputError:
        """From H (columns, columns), and the type in which to compute products with it (None: float32)."""
        import torch  # takes long to load

        columns = len(hessian)
        scale = 1 / np.diagonal(hessian).mean()  # so that no product overflows
        # Memory of torch's own, as it aligns it: the last bits of a product depend on that.
        blocks = torch.empty((-(-columns // WIDTH), columns, WIDTH))
        blocks[-1] = 0
        for at, block in enumerate(blocks):
            own = hessian[:, at * WIDTH : (at + 1) * WIDTH]
            np.multiply(own, scale, out=block[:, : own.shape[1]].numpy(), casting="same_kind")
        exact = np.zeros(weights.shape, bool) if exact is None else exact
        return cls(np.where(exact, np.float32(0), weights), blocks, blocks.to(products or torch.float32), exact)

    @property
    def tiles(self) -> list[slice]:
        """All rows."""
        rows = len(self.weights)
        quarter = -(-rows // (4 * TILE_STEP)) * TILE_STEP
        return _slices(rows, min(max(quarter, LEAST_TILE), TILE))

    @property
    def blocks(self) -> list[slice]:
        """All columns."""
        return _slices(self.weights.shape[1], WIDTH)

    def product(self, dense: np.ndarray, rows: slice, near: bool) -> np.ndarray:
        """dense @ H for these rows of a matrix, which count as zero where `exact`. With `near` as if H had only its
        diagonal blocks."""
        import torch

        left = torch.tensor(np.where(self.exact[rows], np.float32(0), dense))
        out = torch.empty((len(self.hessian), len(left), WIDTH))
        if near:
            for into, block, columns in zip(out, self.hessian, self.blocks, strict=True):
                torch.mm(left[:, columns], block[columns], out=into)
        elif self.factors.dtype == out.dtype:
            for into, factor in zip(out, self.factors, strict=True):
                torch.mm(left, factor, out=into)
        else:
            left = left.to(self.factors.dtype)
            for into, factor in zip(out, self.factors, strict=True):
                into.copy_(torch.mm(left, factor))
        return out.numpy()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within this, torch computes a product in the thread that asks for it, whatever the number of cores: the last bits
    of one that several share depend on their number."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _slices(length: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]
