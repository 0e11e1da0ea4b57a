"""onnxruntime's quantizers for MatMulNBits: round-to-nearest, k-quant and HQQ, without calibration.

They get float16 weights, as from a float16 model, so that scales, and HQQ's zero points, are stored in float16: the
smallest type that they can have. A value is (code - zero point) * scale (com.microsoft.MatMulNBits).
"""

from __future__ import annotations

import importlib
import logging
from functools import partial
from types import ModuleType

import numpy as np

from benchmarks.peers.peer import ByMatrix, Peer
from edgesw.decoder.spec import DecoderSpec


def rtn(weights: np.ndarray, bits: int, block: int, symmetric: bool) -> tuple[np.ndarray, float]:
    """The function that its DefaultWeightOnlyQuantizer calls, called as the class does: 2, 4 or 8 bits.

    Codes are packed low bits first; without zero points the middle of the range is zero.
    """
    from onnxruntime.capi import _pybind_state

    rows, columns = weights.shape
    blocks, pack = -(-columns // block), 8 // bits
    transposed = np.ascontiguousarray(_padded(weights, block).T)
    packed = np.zeros((rows, blocks, block // pack), np.uint8)
    scales = np.zeros((rows, blocks), np.float16)
    zeros = np.zeros((rows, -(-blocks // pack)), np.uint8)
    quantize = getattr(_pybind_state, f"quantize_matmul_{bits}bits")
    quantize(packed, transposed, scales, zeros, block, rows, columns, symmetric)
    middle = np.full((rows, blocks), 2 ** (bits - 1))
    values = _dequantized(
        _unpacked(packed, bits), scales, middle if symmetric else _unpacked(zeros, bits)[:, :blocks], weights.shape
    )
    return values, packed.nbytes + scales.nbytes + (0 if symmetric else zeros.nbytes)


def packs(bits: int) -> bool:
    """Whether this onnxruntime has `rtn` of `bits` bits: 2 came with 1.24."""
    from onnxruntime.capi import _pybind_state

    return hasattr(_pybind_state, f"quantize_matmul_{bits}bits")


def k_quant(weights: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, float]:
    """KQuantWeightOnlyQuantConfig: llama.cpp's search for scale and minimum, in numpy; 4 or 8 bits, zero points."""
    module = _quantization("neural_compressor.weight_only")
    padded = _padded(weights, block)
    rows, blocks = len(padded), padded.shape[1] // block
    with np.errstate(divide="ignore", invalid="ignore"):  # blocks of zeros, which it then leaves as they were
        codes, scales, zeros = module.quant_tensor_k_quant_cpu(padded, bits, block)
    stored = padded.size * bits / 8 + 2 * rows * blocks + rows * -(-blocks * bits // 8)
    return _dequantized(codes, scales.astype(np.float16), zeros, weights.shape), stored


def hqq(weights: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, float]:
    """HQQWeightOnlyQuantConfig (Badri and Shaji, "Half-Quadratic Quantization", 2023): zero points are not integers."""
    import torch

    module = _quantization("matmul_nbits_quantizer")
    quantizer = module.HQQWeightOnlyQuantizer(module.HQQWeightOnlyQuantConfig(block_size=block, bits=bits))
    codes, scales, zeros = quantizer.quantize_internal(
        torch.from_numpy(weights.astype(np.float16)), bits=bits, group_size=block
    )
    values = _dequantized(codes.numpy(), scales.numpy(), zeros.numpy(), weights.shape)
    return values, codes.numel() * bits / 8 + 2 * scales.numel() + 2 * zeros.numel()


def _padded(weights: np.ndarray, block: int) -> np.ndarray:
    """Float16, rows filled with zeros to whole blocks."""
    return np.pad(weights, ((0, 0), (0, -weights.shape[1] % block))).astype(np.float16)


def _dequantized(codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Codes, scales and zero points of whole blocks, row after row -> float32 of `shape`, without the padding."""
    blocks, zero = scales.size, zeros.reshape(-1, 1).astype(np.float32)
    values = (codes.reshape(blocks, -1).astype(np.float32) - zero) * scales.reshape(-1, 1).astype(np.float32)
    return values.reshape(shape[0], -1)[:, : shape[1]]


def _unpacked(packed: np.ndarray, bits: int) -> np.ndarray:
    """Bytes (..., n) -> codes (..., 8 / bits * n), low bits first."""
    parts = np.stack([packed >> shift & (2**bits - 1) for shift in range(0, 8, bits)], -1)
    return parts.reshape(*packed.shape[:-1], -1)


def _quantization(name: str) -> ModuleType:
    """A module of onnxruntime.quantization. When imported it sets up logging, unless the root logger has a handler."""
    root, handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(handler)
    try:
        return importlib.import_module(f"onnxruntime.quantization.{name}")
    finally:
        root.removeHandler(handler)


def _packs(bits: int, spec: DecoderSpec) -> bool:
    return packs(bits)


_NEEDS = ("onnx_ir", "onnx-ir")  # which those modules of onnxruntime import
PEERS = (
    *(
        Peer(
            f"onnxruntime RTN {bits} bits, blocks of {block}{'' if symmetric else ', zero points'}",
            ByMatrix(partial(rtn, bits=bits, block=block, symmetric=symmetric)),
            fits=partial(_packs, bits),
        )
        for bits, block, symmetric in (
            (4, 32, True), (4, 32, False), (4, 64, True), (4, 64, False), (4, 128, True), (4, 128, False),
            (2, 16, False), (2, 32, False),
        )
    ),
    *(
        Peer(f"onnxruntime k-quant 4 bits, blocks of {block}", ByMatrix(partial(k_quant, bits=4, block=block)), _NEEDS)
        for block in (32, 64, 128)
    ),
    *(
        Peer(f"onnxruntime HQQ {bits} bits, blocks of {block}", ByMatrix(partial(hqq, bits=bits, block=block)), _NEEDS)
        for bits, block in ((4, 32), (4, 64), (4, 128), (2, 16), (2, 32), (2, 64))
    ),
)  # fmt: skip
