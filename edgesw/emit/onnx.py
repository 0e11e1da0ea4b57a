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
from edgesw.emit.onnx_ops import OnnxOps
from edgesw.emit.onnx_passes import fuse_skip_norm
from edgesw.emit.onnx_portable import PortableOps
from edgesw.formats.onnx_interface import LOGITS_OFFSETS
from edgesw.formats.write_options import WriteOptions


def write_onnx(
    decoder_weights: CompressedDecoder, spec: DecoderSpec, portable: bool, options: WriteOptions, path: Path
) -> None:
    """Writes `path` (model.onnx), which computes in float32, and next to it its external data and genai_config.json.
    `portable`: in operators of the ONNX standard alone.

    Inputs `input_ids` and `attention_mask` int64 (batch, q) and (batch, past + q), `past_key_values.N.key` and `.value`
    (batch, kv_heads, past, head_dim); outputs `logits`, `present.N.key` and `.value`. Logits are those of the last
    token, (batch, 1, vocabulary), or of the tokens in the optional input LOGITS_OFFSETS; of all tokens if `portable`.
    """
    with ExternalData(path.with_name(path.name + ".data")) as data:
        graph = OnnxGraph(data)
        ops = (PortableOps if portable else OnnxOps)(spec, decoder_weights, graph, options.context, options.activations)
        graph.node("Identity", [decoder(ops)], "logits")
    graph.nodes = fuse_skip_norm(graph.nodes)
    cache = ["batch_size", spec.kv_heads, "past_sequence_length", spec.head_dim]
    present = ["batch_size", spec.kv_heads, "total_sequence_length", spec.head_dim]
    parts = [(layer, part) for layer in range(spec.layers) for part in ("key", "value")]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        *(_float(f"past_key_values.{layer}.{part}", cache) for layer, part in parts),
    ]
    if not portable:
        inputs.append(helper.make_tensor_value_info(LOGITS_OFFSETS, TensorProto.INT64, ["logits_length"]))
    # onnxruntime-genai allocates one token's logits where the model declares a length of 1, else the whole prompt's.
    length = "sequence_length" if portable else 1
    outputs = [
        _float("logits", ["batch_size", length, spec.vocab_size]),
        *(_float(f"present.{layer}.{part}", present) for layer, part in parts),
    ]
    graph.save(path, options.name, inputs, outputs)
    config = genai_config(spec, options, path.name, share_buffer=not portable)
    path.with_name(GENAI_CONFIG).write_text(config, encoding="utf-8")


def _float(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
