"""llama.cpp: Q4_0 by its Python package `gguf`, k-quants by `llama_model_quantize` of the package llama-cpp-python.

The matrices are written to a float32 GGUF file as a Llama's, whatever the family: which matrices get more bits depends
on names, layers and heads only. `gguf` reads and dequantizes the result. Rows keep edgesw's order, as each is quantized
by itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np

from benchmarks.peers.peer import ByMatrix, Peer, Source
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec

SUPER_BLOCK = 256  # weights that a k-quant stores together
_NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip


def q4_0(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """4 bits per block of 32, a float16 scale."""
    from gguf import GGMLQuantizationType, quants

    stored = quants.quantize(weights, GGMLQuantizationType.Q4_0)
    return quants.dequantize(stored, GGMLQuantizationType.Q4_0), stored.nbytes


@dataclass(frozen=True)
class KQuant:
    """`Peer.store` of a file type such as Q4_K_M.

    `weighted`: with an importance matrix of mean squares of inputs. `joined`: rows are joined until they fill
    super-blocks; otherwise llama.cpp stores matrices whose rows do not fill them in older types of more bits.
    """

    type: str
    weighted: bool
    joined: bool

    def __call__(self, source: Source) -> GgufMatrices:
        plain = source.folder / f"float32{'-joined' if self.joined else ''}.gguf"
        if not plain.exists():
            write_float(source, plain, self.joined)
        path = source.folder / "quantized.gguf"
        quantize(plain, path, self.type, _importance(source, self.joined) if self.weighted else {})
        return GgufMatrices(path, source.spec)


class GgufMatrices:
    """Layers' matrices read from a file that llama.cpp wrote. They stay in memory, quantized, so the file may go."""

    def __init__(self, path: Path, spec: DecoderSpec) -> None:
        from gguf import GGUFReader

        self._spec = spec
        tensors = GGUFReader(path).tensors
        self._tensors = {tensor.name: (np.array(tensor.data), tensor.tensor_type) for tensor in tensors}
        # Only half of a matrix counts that is stored twice (see `write_float`).
        self._copies = {t.name: t.n_elements // _weights(spec, t.name) for t in tensors}
        self.bits_per_weight = (
            8 * sum(tensor.n_bytes / self._copies[tensor.name] for tensor in tensors)
            / sum(_weights(spec, tensor.name) for tensor in tensors)
        )  # fmt: skip

    def tensor(self, name: str) -> np.ndarray:
        from gguf.quants import dequantize

        stored, kind = self._tensors[_gguf_name(name)]
        shape = self._spec.matrix_shape(name)
        values = np.asarray(dequantize(stored, kind), np.float32).ravel()
        return values[: shape[0] * shape[1]].reshape(shape)

    @property
    def note(self) -> str:
        counts = Counter(kind.name for _, kind in self._tensors.values())
        return f" ({', '.join(f'{count} {kind}' for kind, count in counts.most_common())})"


def write_float(source: Source, path: Path, joined: bool) -> None:
    """Writes the layers' matrices in float32. A matrix that would be one joined row is written twice: llama.cpp treats
    a tensor of one row as a vector and leaves it float."""
    from gguf import GGUFWriter

    spec = source.spec
    file = GGUFWriter(path, "llama", use_temp_file=True)
    for name, value in {
        "context_length": spec.max_positions, "embedding_length": spec.hidden_size, "block_count": spec.layers,
        "feed_forward_length": spec.intermediate_size, "vocab_size": spec.vocab_size,
        "attention.head_count": spec.heads, "attention.head_count_kv": spec.kv_heads,
        "attention.key_length": spec.head_dim, "attention.value_length": spec.head_dim,
        "rope.dimension_count": spec.head_dim,
    }.items():  # fmt: skip
        file.add_uint32(f"llama.{name}", value)
    file.add_layer_norm_rms_eps(spec.norm_eps)
    for name in spec.matrices():
        values = source.weights.tensor(name)
        rows = values.reshape(-1, values.shape[1] * (rows_joined(values.shape) if joined else 1))
        file.add_tensor(_gguf_name(name), np.concatenate([rows, rows]) if len(rows) == 1 else rows)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def quantize(plain: Path, path: Path, file_type: str, importance: dict[str, np.ndarray]) -> None:
    """Calls `llama_model_quantize`. `importance`: (columns of the file,) by tensor, or empty."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{file_type}")
    pointer = ctypes.POINTER(ctypes.c_float)
    # The list ends with an entry without a name.
    entries = (llama_cpp.llama_cpp.llama_model_imatrix_data * (len(importance) + 1))()
    for entry, (name, values) in zip(entries, importance.items(), strict=False):
        entry.name, entry.data, entry.size = name.encode(), values.ctypes.data_as(pointer), values.size
    if importance:
        params.imatrix = ctypes.cast(entries, type(params.imatrix))
    with _captured_stderr() as said:
        if llama_cpp.llama_model_quantize(str(plain).encode(), str(path).encode(), ctypes.byref(params)):
            raise RuntimeError(f"llama.cpp could not quantize to {file_type}: {said()}")


def _importance(source: Source, joined: bool) -> dict[str, np.ndarray]:
    return {
        _gguf_name(name): np.tile(
            values.astype(np.float32), rows_joined(source.spec.matrix_shape(name)) if joined else 1
        )
        for name, values in source.importance.items()
    }


def rows_joined(shape: tuple[int, ...]) -> int:
    """How many rows fill whole super-blocks; 1 where the number of rows is not a multiple of that."""
    rows = SUPER_BLOCK // gcd(shape[1], SUPER_BLOCK)
    return 1 if shape[0] % rows else rows


def _gguf_name(name: str) -> str:
    place = TensorName.parse(name)
    return f"blk.{place.layer}.{_NAMES[place.kind]}.weight"


def _weights(spec: DecoderSpec, gguf_name: str) -> int:
    kinds = {stored: kind for kind, stored in _NAMES.items()}
    rows, columns = spec.matrix_shape(kinds[gguf_name.split(".")[2]])
    return rows * columns


def _uneven(spec: DecoderSpec) -> bool:
    """Whether joining rows changes anything."""
    return any(rows_joined(spec.matrix_shape(name)) > 1 for name in spec.matrices())


@contextlib.contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Captures what the library prints, a line for each matrix. Yields a function that returns the end of it."""
    with tempfile.TemporaryFile() as captured:
        before = os.dup(2)
        os.dup2(captured.fileno(), 2)

        def said() -> str:
            captured.seek(0)
            return captured.read().decode(errors="replace")[-500:]

        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)


_TYPES = ("Q4_K_M", "Q4_K_S", "Q3_K_M", "Q3_K_S", "Q2_K")
PEERS = (
    Peer("llama.cpp Q4_0 (blocks of 32)", ByMatrix(q4_0, (1, 32))),
    *(
        Peer(
            f"llama.cpp {kind}{', importance' if weighted else ''}{', rows joined' if joined else ''}",
            KQuant(kind, weighted, joined),
            ("llama_cpp", "llama-cpp-python"),
            _uneven if joined else lambda spec: True,
        )
        for joined in (False, True)
        for kind in _TYPES
        for weighted in (False, True)
    ),
)
