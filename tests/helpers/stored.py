"""The dense matrices in a package's files, decoded by coremltools or by an operator's documented formula, and
transformers with them."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.external_data_helper import load_external_data_for_model
from tiny_families import make

FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def stored_matrices(target: str, path: Path) -> dict[str, np.ndarray]:
    """Canonical name -> float32 (rows, columns), without what is held out. Skips where coremltools cannot decode."""
    model = path if path.is_file() else path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    return {name: values.copy() for name, values in _stored(target, path, model.stat().st_mtime_ns).items()}


@functools.lru_cache(maxsize=2)  # many tests of one package follow each other, and coremltools takes a second
def _stored(target: str, path: Path, written: int) -> dict[str, np.ndarray]:
    return dict(_coreml_matrices(path) if target == "coreml" else _onnx_matrices(path))


def _coreml_matrices(package: Path) -> Iterator[tuple[str, np.ndarray]]:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    pytest.importorskip("coremltools.libmilstoragepython", reason="coremltools has no native build for this machine")
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    weights = package / "Data" / "com.apple.CoreML" / "weights"
    spec = ct.utils.load_spec(str(package))
    for op in load(spec, spec.specificationVersion, str(weights)).functions["main"].operations:
        if op.op_type.startswith("constexpr_"):
            name = op.name
            if name.startswith("layers_"):
                _, layer, kind = name.split("_", 2)
                name = f"layers.{layer}.{kind}"
            yield name, np.asarray(op.materialized_val_inference(), np.float32).copy()


def _onnx_matrices(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(code - zero point) * scale, as the documentation of com.microsoft.MatMulNBits has it."""
    model = onnx.load(path, load_external_data=False)
    load_external_data_for_model(model, str(path.parent))
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:  # scales are stored in float16
        if node.op_type == "Cast" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]].astype(np.float32)
    attention = next(node for node in model.graph.node if node.op_type == "GroupQueryAttention")
    cache = next(value for value in model.graph.input if value.name == "past_key_values.0.key").type.tensor_type
    queries = cache.shape.dim[3].dim_value * next(a.i for a in attention.attribute if a.name == "num_heads")
    for node in model.graph.node:
        if node.op_type not in ("MatMulNBits", "GatherBlockQuantized"):
            continue
        at = {attribute.name: attribute.i for attribute in node.attribute}
        # The embedding's operator takes its codes first, and has whole blocks here.
        packed_codes = tensors[node.input[0 if node.op_type == "GatherBlockQuantized" else 1]]
        rows, bits, block = len(packed_codes), at["bits"], at["block_size"]
        columns = at.get("K", packed_codes[0].size * 8 // bits)
        codes = np.unpackbits(packed_codes.reshape(rows, -1), axis=1, bitorder="little")
        weights = 1 << np.arange(bits)
        codes = codes.reshape(rows, -1, block, bits) @ weights
        zero: Any = 2 ** (bits - 1)
        if len(node.input) > 3:
            packed = np.unpackbits(tensors[node.input[3]], axis=1, bitorder="little")
            zero = (packed.reshape(rows, -1, bits) @ weights)[:, : codes.shape[1], None]
        dense = ((codes - zero) * tensors[node.input[2]][..., None]).reshape(rows, -1)[:, :columns]
        name = node.input[2].removesuffix(".scales")
        stem, _, kind = name.rpartition(".")
        # The queries' rows, then as many keys' as values'.
        ends = [queries, (rows + queries) // 2] if kind == "qkv_proj" else [rows // 2]
        parts = np.split(dense, ends) if kind in FUSED else [dense]
        for each, part in zip(FUSED.get(kind, (kind,)), parts, strict=True):
            yield f"{stem}.{each}" if stem else each, part.astype(np.float32)


def unhalved(matrix: np.ndarray) -> np.ndarray:
    """Rows of q or k of "phi3-partial" as Hugging Face has them: of 16 channels of a head the first 12 are rotated, in
    pairs six apart, and in our order pairs are always half a head apart."""
    heads = matrix.reshape(-1, 16, matrix.shape[1])
    return heads[:, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 6, 7, 14, 15]].reshape(matrix.shape)


def with_matrices(variant: str, stored: dict[str, np.ndarray]) -> Any:
    """transformers' model of this variant with these matrices, by our names, put in its own's places."""
    model = make(variant)
    if variant == "phi3-partial":
        turned = [name for name in stored if name.endswith(("q_proj", "k_proj"))]
        stored = {**stored, **{name: unhalved(stored[name]) for name in turned}}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() != 2:
                continue
            ours = re.sub(r"^model\.|self_attn\.|mlp\.|\.weight$", "", name)
            stem, kind = ours.rsplit(".", 1) if "." in ours else ("", ours)
            parts = [stored[f"{stem}.{part}"] for part in FUSED[kind]] if kind in FUSED else [stored[ours]]
            parameter.copy_(torch.from_numpy(np.concatenate(parts)))
    return model
