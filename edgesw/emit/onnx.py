"""OnnxOps: writes the decoder as an ONNX graph of onnxruntime's operators, weights streamed to external data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, save_model

from edgesw import __version__
from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix, Corrections, Scheme
from edgesw.decoder.decoder import decoder
from edgesw.decoder.rotary import rotary_tables
from edgesw.emit.bits import pack_bits
from edgesw.emit.external_data import ExternalData

OPSET, IR_VERSION = 21, 10
MICROSOFT = "com.microsoft"


def write_onnx(decoder_weights: CompressedDecoder, spec: DecoderSpec, context: int, name: str, path: Path) -> None:
    """Write `path` (model.onnx) and its external data beside it, computing in float32.

    Inputs `input_ids` and `attention_mask` int64 (batch, q) and (batch, past + q), `past_key_values.N.key` and `.value`
    (batch, kv_heads, past, head_dim); outputs `logits` (batch, q, vocabulary), `present.N.key` and `.value`.
    """
    with ExternalData(path.with_name(path.name + ".data")) as data:
        ops = OnnxOps(spec, decoder_weights, data, context)
        ops.node("Identity", [decoder(ops)], "logits")
    cache = ["batch_size", spec.kv_heads, "past_sequence_length", spec.head_dim]
    present = ["batch_size", spec.kv_heads, "total_sequence_length", spec.head_dim]
    parts = [(layer, part) for layer in range(spec.layers) for part in ("key", "value")]
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "sequence_length"]),
        helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch_size", "total_sequence_length"]),
        *(_float(f"past_key_values.{layer}.{part}", cache) for layer, part in parts),
    ]
    outputs = [
        _float("logits", ["batch_size", "sequence_length", spec.vocab_size]),
        *(_float(f"present.{layer}.{part}", present) for layer, part in parts),
    ]
    model = helper.make_model(
        helper.make_graph(ops.nodes, name, inputs, outputs, data.initializers),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)],
        producer_name="edgesw",
        producer_version=__version__,
        ir_version=IR_VERSION,
    )
    save_model(model, str(path))


def _float(name: str, shape: list[Any]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class OnnxOps:
    """`Ops` on the names of ONNX values, in float32."""

    def __init__(self, spec: DecoderSpec, decoder_weights: CompressedDecoder, data: ExternalData, context: int) -> None:
        self.spec, self._source, self._data = spec, decoder_weights, data
        self.nodes: list[Any] = []
        self._written: dict[str, _Blocks] = {}
        self._turns = [
            [data.write(f"{part}_cache_{number}", table) for part, table in zip(("cos", "sin"), tables, strict=True)]
            for number, tables in enumerate(rotary_tables(rotary, context) for rotary in spec.rotaries)
        ]
        self._context = context
        # GroupQueryAttention takes the last position of each row and the total length from the attention mask.
        self.node("ReduceSum", ["attention_mask", data.small("axis_1", np.array([1]))], "tokens", keepdims=0)
        self.node("Sub", ["tokens", "axis_1"], "last")
        self._last = self.node("Cast", ["last"], "last_position", to=TensorProto.INT32)
        self.node("Shape", ["attention_mask"], "mask_shape")
        self.node("Gather", ["mask_shape", data.small("index_1", np.array(1))], "mask_length", axis=0)
        self._total = self.node("Cast", ["mask_length"], "total_length", to=TensorProto.INT32)

    def node(self, op: str, inputs: list[str], output: str | list[str], domain: str = "", **attributes: Any) -> str:
        """Append a node and return its first output. Nodes are named for what they make."""
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes))
        return outputs[0]

    def embedding(self, name: str) -> str:
        blocks = self._blocks(name)
        packed = blocks.blocks * blocks.scheme.group * blocks.scheme.bits // 8
        codes = self._data.alias(f"{name}.codes_2d", blocks.inputs[0], np.dtype(np.uint8), (blocks.rows, packed))
        rows = self.node(
            "GatherBlockQuantized", [codes, "input_ids", *blocks.inputs[1:]], name, MICROSOFT,
            bits=blocks.scheme.bits, block_size=blocks.scheme.group, gather_axis=0, quantize_axis=1,
        )  # fmt: skip
        return rows if self.spec.embedding_scale == 1 else self._times(rows, self.spec.embedding_scale)

    def norm(self, x: str, name: str) -> str:
        eps = self.spec.norm_eps
        if self.spec.norm == "layer":
            ones = self._data.small("ones", np.ones(self.spec.hidden_size, np.float32))
            return self.node("LayerNormalization", [x, ones], name, axis=-1, epsilon=eps)
        weight = self._data.write(f"{name}.weight", self._source.vector(name))
        return self.node("SimplifiedLayerNormalization", [x, weight], name, axis=-1, epsilon=eps, stash_type=1)

    def head_norm(self, x: str, name: str) -> str:
        apart = self._data.small("heads_apart", np.array([0, 0, -1, self.spec.head_dim]))
        heads = self.norm(self.node("Reshape", [x, apart], f"{name}.heads"), name)
        return self.node("Reshape", [heads, self._data.small("heads_joined", np.array([0, 0, -1]))], f"{name}.joined")

    def linear(self, x: str, name: str) -> str:
        blocks = self._blocks("embed_tokens" if name == "lm_head" and self.spec.tied_head else name)
        y = self.node(
            "MatMulNBits", [x, *blocks.inputs], name, MICROSOFT,
            K=blocks.columns, N=blocks.rows, bits=blocks.scheme.bits, block_size=blocks.scheme.group,
            # 4 rounds activations to 8 bits. Only 2-bit codes need it: their float32 path is 80 times slower.
            accuracy_level=4 if blocks.scheme.bits == 2 else 0,
        )  # fmt: skip
        if name.rsplit(".", 1)[-1] in self.spec.biased:
            bias = self._data.write(f"{name}.bias", self._source.vector(f"{name}.bias"))
            y = self.node("Add", [y, bias], f"{name}.biased")
        return self._corrected(x, y, name, blocks.corrections)

    def _corrected(self, x: str, y: str, name: str, corrections: Corrections) -> str:
        """`y`, a dense product with `x`, with what is held out of the matrix put back."""
        if (whole := corrections.columns) is not None:
            columns = self._data.small(f"{name}.spiking", whole.columns.astype(np.int64))
            delta = self._widened(f"{name}.correction", whole.delta)
            spiking = self.node("Gather", [x, columns], f"{name}.input_spikes", axis=-1)
            restored = self.node("MatMul", [spiking, delta], f"{name}.restored")
            y = self.node("Add", [y, restored], f"{name}.corrected")
        if (each := corrections.scalars) is not None:
            columns = self._data.write(f"{name}.scalar_columns", each.columns)
            delta = self._widened(f"{name}.scalar_correction", each.delta)
            inputs = self.node("Gather", [x, columns], f"{name}.scalar_inputs", axis=-1)
            products = self.node("Mul", [inputs, delta], f"{name}.scalar_products")
            shape = self.node("Shape", [products], f"{name}.scalar_shape")
            rows = self._data.write(f"{name}.scalar_rows", each.rows)
            rows = self.node("Expand", [rows, shape], f"{name}.scalar_rows_everywhere")
            y = self.node("ScatterElements", [y, rows, products], f"{name}.complete", axis=-1, reduction="add")
        return y

    def _widened(self, name: str, values: np.ndarray) -> str:
        """Stored as it is, in float16; what runs the graph widens it once, as it opens the model."""
        return self.node("Cast", [self._data.write(f"{name}_stored", values)], name, to=TensorProto.FLOAT)

    def attention(self, layer: int, query: str, key: str, value: str) -> str:
        spec = self.spec
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        rotary, window = spec.layer_rotary[layer], spec.layer_windows[layer]
        turns = [] if rotary is None else self._turns[rotary]
        # What differs from the operator's defaults, and only that.
        switches: dict[str, Any] = {}
        if window is not None and window < self._context:
            switches["local_window_size"] = window
        if spec.attention_softcap is not None:
            switches["softcap"] = spec.attention_softcap
        return self.node(
            "GroupQueryAttention",
            [query, key, value, *past, self._last, self._total, *turns],
            [f"layers.{layer}.attention", *present], MICROSOFT,
            num_heads=spec.heads, kv_num_heads=spec.kv_heads, do_rotary=int(rotary is not None),
            scale=spec.score_scale, **switches,
        )  # fmt: skip

    def gated(self, gate: str, up: str) -> str:
        if self.spec.activation == "silu":
            active = self.node("Mul", [gate, self.node("Sigmoid", [gate], f"{gate}.sigmoid")], f"{gate}.silu")
        else:
            active = self.node("Gelu", [gate], f"{gate}.gelu", approximate="tanh")
        return self.node("Mul", [active, up], f"{gate}.gated")

    def add(self, a: str, b: str) -> str:
        return self.node("Add", [a, b], f"{b}.residual")

    def clip(self, x: str, bound: float) -> str:
        bounds = [
            self._data.small(f"clip_{end}", np.array(value, np.float32))
            for end, value in (("low", -bound), ("high", bound))
        ]
        return self.node("Clip", [x, *bounds], f"{x}.clipped")

    def softcap(self, x: str, cap: float) -> str:
        return self._times(self.node("Tanh", [self._times(x, 1 / cap)], f"{x}.tanh"), cap)

    def _times(self, x: str, factor: float) -> str:
        return self.node("Mul", [x, self._data.small(f"{x}.factor", np.array(factor, np.float32))], f"{x}.scaled")

    def _blocks(self, name: str) -> _Blocks:
        """A matrix as initializers; the embedding of a tied head is written once and used twice."""
        if name not in self._written:
            self._written[name] = _write_blocks(self._data, name, self._source.matrix(name))
        return self._written[name]


@dataclass(frozen=True)
class _Blocks:
    """A matrix in the external data: the initializers that MatMulNBits takes after its input, and what they hold."""

    inputs: tuple[str, ...]  # codes, scales, and zero points if any
    scheme: Scheme
    rows: int
    columns: int
    blocks: int
    corrections: Corrections


def _write_blocks(data: ExternalData, name: str, matrix: CompressedMatrix) -> _Blocks:
    """Codes (rows, blocks, bytes a block), scales (rows, blocks) float32, zero points packed by row."""
    assert matrix.scales is not None
    bits, group, (rows, columns) = matrix.scheme.bits, matrix.scheme.group, matrix.shape
    blocks = -(-columns // group)
    codes = np.pad(matrix.codes, ((0, 0), (0, blocks * group - columns)))
    inputs = [
        data.write(f"{name}.codes", pack_bits(codes, bits).reshape(rows, blocks, -1)),
        data.write(f"{name}.scales", matrix.scales.astype(np.float32)),
    ]
    if matrix.zero_points is not None:
        padded = np.pad(matrix.zero_points, ((0, 0), (0, -blocks % (8 // bits))))
        inputs.append(data.write(f"{name}.zero_points", pack_bits(padded, bits).reshape(rows, -1)))
    return _Blocks(tuple(inputs), matrix.scheme, rows, columns, blocks, matrix.corrections())
