"""OutputError: the error of a matrix's product, which error compensation reduces, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgesw.compress.threads import threaded

if TYPE_CHECKING:
    import torch

# Columns that are kept up to date together: H between them fits into a core's own cache.
WIDTH = 128
# Rows that one thread works on at a time (a whole number of vectors): fixed, so that nothing depends on how many threads
# share the rows.
TILE = 512


@dataclass(frozen=True)
class OutputError:
    """tr((W - Q) H (W - Q)^T) for weights W, with H the second moments of the matrix's input, as a function of Q.

    Its gradients for Q are (W - Q) H, but for a factor. They come in tiles of rows, and in blocks of columns within a
    tile: float32 (blocks, rows, WIDTH), with the last block padded.
    """

    weights: np.ndarray
    """W, float32 (rows, columns), zero where `exact` is True."""
    hessian: torch.Tensor
    """H, symmetric and positive definite, by blocks of its columns: float32 (blocks, columns, WIDTH)."""
    factors: torch.Tensor
    """The same in the type in which products are computed."""
    exact: np.ndarray
    """Bool (rows, columns): where the correction makes the product exact whatever the code, so there is no error."""

    @classmethod
    def of(
        cls, weights: np.ndarray, hessian: np.ndarray, exact: np.ndarray | None, products: torch.dtype | None = None
    ) -> OutputError:
        """From H (columns, columns); `products` is the type in which products with it are computed (None: float32)."""
        import torch  # takes long to load

        columns = len(hessian)
        # Memory of torch's own, as it aligns it: the last bits of a product depend on that.
        factor = 1 / np.diagonal(hessian).mean()  # so that no product overflows
        padded = torch.zeros((-(-columns // WIDTH), columns, WIDTH))
        for block, part in enumerate(padded):
            own = hessian[:, block * WIDTH : (block + 1) * WIDTH]
            np.multiply(own, factor, out=part[:, : own.shape[1]].numpy(), casting="same_kind")
        exact = np.zeros(weights.shape, bool) if exact is None else exact
        kept = np.where(exact, np.float32(0), weights)
        return cls(kept, padded, padded.to(products or torch.float32), exact)

    @property
    def tiles(self) -> list[slice]:
        """All rows."""
        rows = len(self.weights)
        return [slice(first, min(first + TILE, rows)) for first in range(0, rows, TILE)]

    @property
    def blocks(self) -> list[slice]:
        """All columns."""
        columns = self.weights.shape[1]
        return [slice(first, min(first + WIDTH, columns)) for first in range(0, columns, WIDTH)]

    def gradients(self, decode: Callable[[slice], np.ndarray]) -> list[np.ndarray]:
        """(W - Q) H by tiles, where `decode` gives rows of Q."""
        return threaded(lambda rows: self.product(self.weights[rows] - decode(rows), rows), self.tiles)

    def product(self, dense: np.ndarray, rows: slice) -> np.ndarray:
        """dense @ H, float32 (blocks, rows, WIDTH), for these rows of a matrix, which counts as zero where `exact`."""
        import torch

        left = torch.tensor(np.where(self.exact[rows], np.float32(0), dense)).to(self.factors.dtype)
        out = torch.empty((len(self.factors), len(left), WIDTH))
        for into, factor in zip(out, self.factors, strict=True):
            if factor.dtype == out.dtype:
                torch.mm(left, factor, out=into)
            else:
                into.copy_(torch.mm(left, factor))
        return out.numpy()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within this, torch computes a product in the thread that asks for it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def solved(system: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solutions of many system @ x = right, (..., n, n) and (..., n): the smallest, in effect, where a system leaves
    something open."""
    size = system.shape[-1]
    ridge = 1e-6 * np.trace(system, axis1=-2, axis2=-1) / size + np.finfo(np.float64).tiny
    system = system + ridge[..., None, None] * np.eye(size)
    return np.asarray(np.linalg.solve(system, right[..., None])[..., 0])
