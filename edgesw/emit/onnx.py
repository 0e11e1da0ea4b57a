"""Writes the decoder as an ONNX model, weights streamed to external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from edgesw.compress.decoder import CompressedDecoder
from edgesw.decoder.decoder import decoder
from edgesw.decoder.spec import DecoderSpec
from edgesw.emit.external_data import ExternalData
from edgesw.emit.genai import GENAI_CONFIG, genai_config
from edgesw.emit.onnx_graph import OnnxGraph
from edgesw.emit.onnx_ops import LOGITS_OFFSETS, OnnxOps
from edgesw.emit.onnx_passes import fuse_skip_norm
from edgesw.emit.onnx_portable import PortableOps
from edgesw.formats.write_options import WriteOptions


def write_onnx(decoder_weights: CompressedDecoder, spec: DecoderSpec, packaging: WriteOptions, path: Path) -> None:
    """Write `path` (model.onnx), its external data and genai_config.json beside it, computing in float32.

    Inputs `input_ids` and `attention_mask` int64 (batch, q) and (batch, past + q), `past_key_values.N.key` and `.value`
    (batch, kv_heads, past, head_dim); outputs `logits`, `present.N.key` and `.value`. Logits are of the last token,
    (batch, 1, vocabulary), or of those that the optional input `logits_offsets` int64 (k,) names; portable ones of all.
    """
    with ExternalData(path.with_name(path.name + ".data")) as data:
        graph = OnnxGraph(data)
        ops = PortableOps if packaging.portable else OnnxOps
        graph.node(
            "Identity", [decoder(ops(spec, decoder_weights, graph, packaging.context, packaging.rounding))], "logits"
        )
    graph.nodes = fuse_skip_norm(graph.nodes)
    cache = ["batch_size", spec.kv_heads, "past_sequence_length", spec.head_dim]
    present = ["batch_size", spec.kv_heads, "total_sequence_length", spec.head_dim]
    parts = [(layer, part) for layer in range(spec.layers) for part in ("key", "value")]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        *(_float(f"past_key_values.{layer}.{part}", cache) for layer, part in parts),
    ]
    if not packaging.portable:
        inputs.append(helper.make_tensor_value_info(LOGITS_OFFSETS, TensorProto.INT64, ["logits_length"]))
    # onnxruntime-genai makes room for one token's logits where the model says so, else for those of the whole prompt.
    length = "sequence_length" if packaging.portable else 1
    outputs = [
        _float("logits", ["batch_size", length, spec.vocab_size]),
        *(_float(f"present.{layer}.{part}", present) for layer, part in parts),
    ]
    graph.save(path, packaging.name, inputs, outputs)
    path.with_name(GENAI_CONFIG).write_text(genai_config(spec, packaging, path.name), encoding="utf-8")


def _float(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
