"""OnnxOps: the decoder in onnxruntime's operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.matrix import CompressedMatrix
from edgesw.decoder.names import TensorName
from edgesw.decoder.rotary import rotary_tables
from edgesw.decoder.spec import DecoderSpec
from edgesw.emit.onnx_graph import MICROSOFT, OnnxGraph
from edgesw.emit.onnx_linear import Blocks, corrected, product, same_input, write_blocks
from edgesw.emit.onnx_passes import RESIDUAL
from edgesw.emit.onnx_w8a8 import w8a8_product
from edgesw.formats.activation_quantization import ActivationQuantization
from edgesw.formats.correction_names import FUSED
from edgesw.formats.onnx_interface import LOGITS_OFFSETS


class OnnxOps:
    """`Ops` on the names of ONNX values, in float32."""

    def __init__(
        self,
        spec: DecoderSpec,
        decoder_weights: CompressedDecoder,
        graph: OnnxGraph,
        context: int,
        activations: ActivationQuantization | None = None,
    ) -> None:
        self.spec, self._source, self.graph = spec, decoder_weights, graph
        self._vocabulary_blocks: dict[str, Blocks] = {}
        data = graph.data
        self._rope_tables = [
            [data.write(f"{part}_cache_{number}", table) for part, table in zip(("cos", "sin"), tables, strict=True)]
            for number, tables in enumerate(rotary_tables(rotary, context) for rotary in spec.rotaries)
        ]
        self._context, self._activations = context, activations
        self._read_mask()

    def _read_mask(self) -> None:
        graph, data = self.graph, self.graph.data
        # GroupQueryAttention takes the last position of each row and the total length from the attention mask.
        graph.node("ReduceSum", ["attention_mask", data.small("axis_1", np.array([1]))], "tokens", keepdims=0)
        graph.node("Sub", ["tokens", "axis_1"], "last")
        self._last = graph.node("Cast", ["last"], "last_position", to=TensorProto.INT32)
        graph.node("Shape", ["attention_mask"], "mask_shape")
        graph.node("Gather", ["mask_shape", data.small("index_1", np.array(1))], "mask_length", axis=0)
        self._total = graph.node("Cast", ["mask_length"], "total_length", to=TensorProto.INT32)

    def embedding(self, name: str) -> str:
        blocks = self._vocabulary_matrix(name)
        bits, group = blocks.scheme.bits, blocks.scheme.group
        packed = (blocks.rows, -(-blocks.columns // group) * group * bits // 8)
        codes = self.graph.data.alias(f"{name}.codes_2d", blocks.inputs[0], np.dtype(np.uint8), packed)
        padded = blocks.columns % group != 0
        rows = self.graph.node(
            "GatherBlockQuantized", [codes, "input_ids", *blocks.inputs[1:]], f"{name}.padded" if padded else name,
            MICROSOFT, bits=bits, block_size=group, gather_axis=0, quantize_axis=1,
        )  # fmt: skip
        if padded:  # the operator returns whole blocks, of which the last is padded
            small = self.graph.data.small
            ends = [small(f"columns_{end}", np.array([at])) for end, at in (("start", 0), ("end", blocks.columns))]
            rows = self.graph.node("Slice", [rows, *ends, small("columns_axis", np.array([2]))], name)
        return rows if self.spec.embedding_scale == 1 else self._times(rows, self.spec.embedding_scale)

    def norm(self, x: str, name: str) -> str:
        eps, graph = self.spec.norm_eps, self.graph
        if self.spec.norm == "layer":
            ones = graph.data.small("ones", np.ones(self.spec.hidden_size, np.float32))
            return graph.node("LayerNormalization", [x, ones], name, axis=-1, epsilon=eps)
        weight = graph.data.write(f"{name}.weight", self._source.vector(name))
        return graph.node("SimplifiedLayerNormalization", [x, weight], name, axis=-1, epsilon=eps, stash_type=1)

    def head_norm(self, x: str, name: str) -> str:
        graph = self.graph
        split = graph.data.small("heads_apart", np.array([0, 0, -1, self.spec.head_dim]))
        heads = self.norm(graph.node("Reshape", [x, split], f"{name}.heads"), name)
        joined = graph.data.small("heads_joined", np.array([0, 0, -1]))
        return graph.node("Reshape", [heads, joined], f"{name}.joined")

    def linear(self, x: str, name: str) -> str:
        return self._head(x, name) if name == "lm_head" else self._product(x, [name], [self._source.matrix(name)])

    def linears(self, x: str, names: Sequence[str]) -> tuple[str, ...]:
        """As `Ops.linears`: a single value where one product can replace all of them."""
        matrices = [self._source.matrix(name) for name in names]
        if self._is_fusible(tuple(TensorName.parse(name).kind for name in names)) and same_input(matrices):
            return (self._product(x, names, matrices),)
        return tuple(self._product(x, [name], [matrix]) for name, matrix in zip(names, matrices, strict=True))

    def _product(self, x: str, names: Sequence[str], matrices: list[CompressedMatrix]) -> str:
        """The outputs of these matrices side by side, with their corrections and biases."""
        own, kinds = TensorName.parse(names[0]), tuple(TensorName.parse(name).kind for name in names)
        name = str(own.sibling(FUSED[kinds])) if len(kinds) > 1 else names[0]
        if self._activations is None:
            y = corrected(self.graph, x, self._dense(x, name, matrices), name, matrices)
        else:
            bounds = self._activations.bounds.get(names[0])
            y = w8a8_product(self.graph, x, name, matrices, self._activations.ranges, bounds)
        return self._biased(y, own, kinds)

    def _dense(self, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
        return product(self.graph, x, name, write_blocks(self.graph, name, matrices))

    def _is_fusible(self, kinds: tuple[str, ...]) -> bool:
        """Whether nothing is done to a part of their joint product before the operator that takes all of it."""
        return "q_proj" not in kinds or (self.spec.clip_qkv is None and self.spec.qk_norm == "none")

    def _biased(self, y: str, name: TensorName, kinds: tuple[str, ...]) -> str:
        """`y`, the outputs of these matrices side by side, plus their biases."""
        if not any(kind in self.spec.biased for kind in kinds):
            return y
        biases = [
            self._source.vector(str(name.sibling(f"{kind}.bias")))
            if kind in self.spec.biased
            else np.zeros(self.spec.matrix_shape(kind)[0], np.float32)
            for kind in kinds
        ]
        return self.graph.node("Add", [y, self.graph.data.write(f"{y}.bias", np.concatenate(biases))], f"{y}.biased")

    def attention(self, layer: int, parts: tuple[str, ...]) -> str:
        spec = self.spec
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        rotary, window = spec.layer_rotary[layer], spec.layer_windows[layer]
        tables = [] if rotary is None else self._rope_tables[rotary]
        # Only what differs from the operator's defaults.
        switches: dict[str, Any] = {}
        if window is not None and window < self._context:
            switches["local_window_size"] = window
        if spec.attention_softcap is not None:
            switches["softcap"] = spec.attention_softcap
        return self.graph.node(
            "GroupQueryAttention",
            [*parts, *[""] * (3 - len(parts)), *past, self._last, self._total, *tables],
            [f"layers.{layer}.attention", *present], MICROSOFT,
            num_heads=spec.heads, kv_num_heads=spec.kv_heads, do_rotary=int(rotary is not None),
            scale=spec.score_scale, **switches,
        )  # fmt: skip

    def gated(self, parts: tuple[str, ...]) -> str:
        if len(parts) == 1:
            (joined,) = parts
            parts = f"{joined}.gate", f"{joined}.up"
            self.graph.node("Split", [joined], list(parts), axis=-1, num_outputs=2)
        gate, up = parts
        if self.spec.activation == "silu":
            sigmoid = self.graph.node("Sigmoid", [gate], f"{gate}.sigmoid")
            active = self.graph.node("Mul", [gate, sigmoid], f"{gate}.silu")
        else:
            active = self.graph.node("Gelu", [gate], f"{gate}.gelu", approximate="tanh")
        return self.graph.node("Mul", [active, up], f"{gate}.gated")

    def add(self, a: str, b: str) -> str:
        # These nodes have no domain in the file; with one, equal conversions would no longer give equal bytes.
        return self.graph.node("Add", [a, b], f"{b}{RESIDUAL}", None)

    def clip(self, x: str, bound: float) -> str:
        bounds = [
            self.graph.data.small(f"clip_{end}", np.array(value, np.float32))
            for end, value in (("low", -bound), ("high", bound))
        ]
        return self.graph.node("Clip", [x, *bounds], f"{x}.clipped")

    def softcap(self, x: str, cap: float) -> str:
        return self._times(self.graph.node("Tanh", [self._times(x, 1 / cap)], f"{x}.tanh"), cap)

    def _times(self, x: str, factor: float) -> str:
        constant = self.graph.data.small(f"{x}.factor", np.array(factor, np.float32))
        return self.graph.node("Mul", [x, constant], f"{x}.scaled")

    def _head(self, x: str, name: str) -> str:
        selected = self._select_tokens(x)
        blocks = self._vocabulary_matrix("embed_tokens" if self.spec.tied_head else name)
        return product(self.graph, selected, name, blocks)

    def _select_tokens(self, x: str) -> str:
        """The tokens of `x` (batch, q, channels) in LOGITS_OFFSETS, counted from each row's last token that is not
        padding."""
        graph, data = self.graph, self.graph.data
        offsets, last_axis = data.small(LOGITS_OFFSETS, np.array([0])), data.small("last_axis", np.array([-1]))
        graph.node("Shape", ["input_ids"], "ids_length", start=1)
        past = graph.node("Sub", ["mask_length", "ids_length"], "past")
        last = graph.node("Unsqueeze", [graph.node("Sub", ["last", past], "last_of_ids"), last_axis], "last_column")
        at = graph.node(
            "Max", [graph.node("Add", [last, offsets], "wanted_of_ids"), data.small("zero", np.array(0))], "wanted"
        )
        places = graph.node("Unsqueeze", [at, last_axis], "wanted_places")
        return graph.node("GatherND", [x, places], "wanted_hidden", batch_dims=1)

    def _vocabulary_matrix(self, name: str) -> Blocks:
        """Embedding or head; a matrix that is both is written once."""
        if name not in self._vocabulary_blocks:
            self._vocabulary_blocks[name] = write_blocks(self.graph, name, [self._source.matrix(name)])
        return self._vocabulary_blocks[name]
