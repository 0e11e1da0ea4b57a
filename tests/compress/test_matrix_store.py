"""The folder that compressed matrices wait in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.compression import compress_matrix
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix_store import MatrixStore, Policy
from edgesw.compress.plan import make_plan
from edgesw.targets.registry import TARGETS

SCHEME = BlockScheme(4, 32)


def matrix(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((8, 64)).astype(np.float32)


def test_what_is_kept_is_there_for_every_reader(tmp_path: Path) -> None:
    """A second target and the next run read it again."""
    MatrixStore(tmp_path, Policy.KEEP).add("a", compress_matrix(matrix(), SCHEME))
    for _ in range(2):
        found = MatrixStore(tmp_path, Policy.KEEP).find("a", SCHEME)
        assert found is not None
    assert MatrixStore(tmp_path, Policy.KEEP).find("b", SCHEME) is None


def test_what_is_taken_does_not_fill_the_disk(tmp_path: Path) -> None:
    """Where the disk has no room for a copy of the model, a matrix is there only until it is read."""
    MatrixStore(tmp_path, Policy.KEEP).add("a", compress_matrix(matrix(), SCHEME))
    store = MatrixStore(tmp_path, Policy.TAKE)
    assert store.find("a", SCHEME) is not None
    assert store.find("a", SCHEME) is None and not list(tmp_path.iterdir())
    store.add("b", compress_matrix(matrix(), SCHEME))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"PK\3\4", None])
def test_a_damaged_matrix_counts_as_missing(damage: bytes | None, tmp_path: Path) -> None:
    """A machine that lost its power has written what it could: half a matrix in a package would be silent nonsense."""
    store = MatrixStore(tmp_path, Policy.KEEP)
    store.add("a", compress_matrix(matrix(), SCHEME))
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content) if damage is None else damage)
    assert store.find("a", SCHEME) is None


def test_a_decoder_reads_the_store_before_the_checkpoint(tiny_llama: Path, tmp_path: Path) -> None:
    """Compressing once for two targets is the point; and what is not in the store is compressed as ever."""

    class Unread:
        def tensor(self, name: str) -> np.ndarray:
            raise AssertionError(f"{name} was read from the checkpoint")

        def rows(self, name: str, rows: np.ndarray) -> np.ndarray:
            return self.tensor(name)

    checkpoint, entry = open_checkpoint(str(tiny_llama)), TARGETS["onnx"]
    plan = make_plan(checkpoint.spec, entry.capabilities(entry.options()), 4)
    store = MatrixStore(tmp_path, Policy.KEEP)
    first = CompressedDecoder(checkpoint, plan, store=store)
    second = CompressedDecoder(Unread(), plan, store=store)
    alone = CompressedDecoder(checkpoint, plan)
    for name in ("layers.0.down_proj", "embed_tokens"):
        codes = first.matrix(name).dense.codes
        assert np.array_equal(second.matrix(name).dense.codes, codes)
        assert np.array_equal(alone.matrix(name).dense.codes, codes)
    with pytest.raises(AssertionError, match=r"layers\.1\.q_proj"):
        second.matrix("layers.1.q_proj")
