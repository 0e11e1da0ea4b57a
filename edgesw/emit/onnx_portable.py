"""PortableOps: the decoder in operators of the ONNX standard alone (opset 21), for runtimes other than onnxruntime."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from edgesw.compress.block_scheme import BlockCodes
from edgesw.compress.matrix import CompressedMatrix
from edgesw.emit.bits import pack_bits
from edgesw.emit.onnx_linear import block_codes
from edgesw.emit.onnx_ops import OnnxOps
from edgesw.formats.correction_names import CODES, SCALES, ZERO_POINTS

# Added to the scores of keys that a token does not attend to. Not infinity: a row with nothing else would be NaN.
MASKED = -1e9


class PortableOps(OnnxOps):
    """Matrices are (columns, rows) integers of 4 or 8 bits that go through a DequantizeLinear with blocks, which
    runtimes may fuse with the product. A tied head is written twice: the embedding is read by rows."""

    def _is_fusible(self, kinds: tuple[str, ...]) -> bool:
        return "q_proj" not in kinds

    def _read_mask(self) -> None:
        graph, data = self.graph, self.graph.data
        zero, one = data.small("zero", np.array(0)), data.small("one", np.array(1))
        graph.node("Shape", ["attention_mask"], "mask_shape")
        graph.node("Shape", ["input_ids"], "ids_shape")
        total = graph.node("Gather", ["mask_shape", one], "total_length", axis=0)
        new = graph.node("Gather", ["ids_shape", one], "new_length", axis=0)
        past = graph.node("Sub", [total, new], "past_length")
        keys = graph.node("Range", [zero, total, one], "key_index")
        queries = graph.node("Range", [past, total, one], "query_index")
        # Positions count tokens that are not padding, so that a batch may be padded in front.
        count = graph.node("CumSum", ["attention_mask", one], "tokens_so_far")
        counted = graph.node("Max", [graph.node("Sub", [count, one], "positions_so_far"), zero], "positions_from_0")
        self._positions = graph.node("Gather", [counted, queries], "positions", axis=1)
        self._keys = keys
        self._queries = graph.node("Unsqueeze", [queries, data.small("axis_1", np.array([1]))], "query_column")
        graph.node("Cast", ["attention_mask"], "there", to=TensorProto.BOOL)
        self._not_padding = graph.node(
            "Unsqueeze", ["there", data.small("axes_123", np.array([1, 2, 3]))], "there_by_key"
        )
        self._masks: dict[int | None, str] = {}

    def embedding(self, name: str) -> str:
        graph, (matrix,) = self.graph, block_codes([self._source.matrix(name)])
        # A Gather takes whole bytes: here codes of 4 bits have a byte each.
        parts = [self._integers(name + CODES, matrix.codes, matrix), graph.widened(name + SCALES, matrix.scales)]
        if matrix.zero_points is not None:
            parts.append(graph.data.write(name + ZERO_POINTS, matrix.zero_points))
        rows = [graph.node("Gather", [part, "input_ids"], f"{part}.of_tokens", axis=0) for part in parts]
        values = graph.node("DequantizeLinear", rows, f"{name}.rows", axis=-1, block_size=matrix.scheme.group)
        return values if self.spec.embedding_scale == 1 else self._times(values, self.spec.embedding_scale)

    def norm(self, x: str, name: str) -> str:
        if self.spec.norm == "layer":
            return super().norm(x, name)
        graph, data = self.graph, self.graph.data
        last = data.small("last_axis", np.array([-1]))
        mean = graph.node(
            "ReduceMean", [graph.node("Mul", [x, x], f"{name}.squares"), last], f"{name}.mean", keepdims=1
        )
        eps = data.small("norm_eps", np.array(self.spec.norm_eps, np.float32))
        root = graph.node("Sqrt", [graph.node("Add", [mean, eps], f"{name}.mean_eps")], f"{name}.root")
        weight = data.write(f"{name}.weight", self._source.vector(name))
        return graph.node("Mul", [graph.node("Div", [x, root], f"{name}.normed"), weight], name)

    def attention(self, layer: int, parts: tuple[str, ...]) -> str:
        spec, graph, name = self.spec, self.graph, f"layers.{layer}.attention"
        shared = spec.heads // spec.kv_heads
        # Queries (batch, kv_heads, heads that share them, q, channels); keys and values have a third axis of one.
        heads = [
            self._split_heads(x, f"{name}.{part}", each)
            for x, part, each in zip(parts, ("query", "key", "value"), (shared, 1, 1), strict=True)
        ]
        if (rotary := spec.layer_rotary[layer]) is not None:
            heads[:2] = [self._rotate(x, rotary) for x in heads[:2]]
        third = graph.data.small("axis_2", np.array([2]))
        caches = []
        for part, new in zip(("key", "value"), heads[1:], strict=True):
            flat = graph.node("Squeeze", [new, third], f"{new}.new")
            present = graph.node("Concat", [f"past_key_values.{layer}.{part}", flat], f"present.{layer}.{part}", axis=2)
            caches.append(graph.node("Unsqueeze", [present, third], f"{name}.all_{part}s"))
        keys = graph.node("Transpose", [caches[0]], f"{name}.keys_across", perm=[0, 1, 2, 4, 3])
        scores = graph.node("MatMul", [self._times(heads[0], spec.score_scale), keys], f"{name}.scores")
        if spec.attention_softcap is not None:
            scores = self.softcap(scores, spec.attention_softcap)
        masked = graph.node("Add", [scores, self._mask(spec.layer_windows[layer])], f"{name}.masked")
        weights = graph.node("Softmax", [masked], f"{name}.shares", axis=-1)
        mixed = graph.node("MatMul", [weights, caches[1]], f"{name}.mixed")
        by_token = graph.node("Transpose", [mixed], f"{name}.by_token", perm=[0, 3, 1, 2, 4])
        return graph.node("Reshape", [by_token, graph.data.small("heads_joined", np.array([0, 0, -1]))], name)

    def _split_heads(self, x: str, name: str, shared: int) -> str:
        """(batch, q, channels) -> (batch, kv_heads, shared, q, head_dim)."""
        shape = np.array([0, 0, self.spec.kv_heads, shared, self.spec.head_dim])
        split = self.graph.node("Reshape", [x, self.graph.data.small(f"by_head_{shared}", shape)], f"{name}.heads")
        return self.graph.node("Transpose", [split], name, perm=[0, 2, 3, 1, 4])

    def _rotate(self, x: str, rotary: int) -> str:
        """`x`, (..., q, head_dim), rotated by its positions: halves a, b become a cos - b sin, b cos + a sin."""
        graph, axes = self.graph, self.graph.data.small("axes_12", np.array([1, 2]))
        tables = []
        for part, table in zip(("cos", "sin"), self._rope_tables[rotary], strict=True):
            if (name := f"{part}_of_tokens_{rotary}") not in graph:
                rows = graph.node("Gather", [table, self._positions], f"{name}.rows", axis=0)
                graph.node("Unsqueeze", [rows, axes], name)
            tables.append(name)
        cos, sin = tables
        graph.node("Split", [x], [f"{x}.a", f"{x}.b"], axis=-1, num_outputs=2)

        def times(half: str, table: str) -> str:
            return graph.node("Mul", [f"{x}.{half}", table], f"{x}.{half}.{table}")

        left = graph.node("Sub", [times("a", cos), times("b", sin)], f"{x}.left")
        right = graph.node("Add", [times("b", cos), times("a", sin)], f"{x}.right")
        return graph.node("Concat", [left, right], f"{x}.turned", axis=-1)

    def _mask(self, window: int | None) -> str:
        """(batch, 1, 1, q, kv_length): what is added to the scores of a layer with this window."""
        window = window if window is not None and window < self._context else None
        if window not in self._masks:
            graph, data, name = self.graph, self.graph.data, "mask" if window is None else f"mask_{window}"
            visible = graph.node("LessOrEqual", [self._keys, self._queries], f"{name}.causal")
            if window is not None:
                width = data.small(f"{name}.window", np.array(window))
                before = graph.node("Sub", [self._queries, width], f"{name}.before")
                near = graph.node("Greater", [self._keys, before], f"{name}.near")
                visible = graph.node("And", [visible, near], f"{name}.open")
            visible = graph.node("And", [visible, self._not_padding], f"{name}.open_and_there")
            biases = [
                data.small(f"score_{which}", np.array(bias, np.float32))
                for which, bias in (("open", 0), ("closed", MASKED))
            ]
            self._masks[window] = graph.node("Where", [visible, *biases], name)
        return self._masks[window]

    def _dense(self, x: str, name: str, matrices: list[CompressedMatrix]) -> str:
        graph, stored = self.graph, block_codes(matrices)
        scheme = stored[0].scheme
        narrow = scheme.bits < 8
        codes = np.concatenate([part.codes for part in stored]).T
        scales = np.concatenate([part.scales for part in stored]).T
        zeros = [part.zero_points for part in stored if part.zero_points is not None]
        parts = [
            self._integers(name + CODES, codes, stored[0], narrow),
            graph.widened(name + SCALES, np.ascontiguousarray(scales)),
        ]
        if zeros:
            parts.append(self._integers(name + ZERO_POINTS, np.concatenate(zeros).T, stored[0], narrow))
        weight = graph.node("DequantizeLinear", parts, f"{name}.weight", axis=0, block_size=scheme.group)
        return graph.node("MatMul", [x, weight], name)

    def _head(self, x: str, name: str) -> str:
        return self._dense(x, name, [self._source.matrix("embed_tokens" if self.spec.tied_head else name)])

    def _integers(self, name: str, values: np.ndarray, matrix: BlockCodes, narrow: bool = False) -> str:
        """Writes codes or zero points, two to a byte if `narrow`. Codes without zero points are signed, around zero."""
        signed = matrix.zero_points is None
        if signed:
            values = (values.astype(np.int16) - 2 ** (matrix.scheme.bits - 1)).astype(np.int8)
        values = np.ascontiguousarray(values)
        if not narrow:
            return self.graph.data.write(name, values)
        kind = TensorProto.INT4 if signed else TensorProto.UINT4
        return self.graph.data.write_packed(name, pack_bits(values.view(np.uint8) & 15, 4), kind, values.shape)
