"""MilOps: writes the decoder with Core ML's MIL builder, in float16."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from edgesw.compress.matrix import ColumnCorrection
from edgesw.decoder.names import TensorName
from edgesw.decoder.rotary import rotary_tables
from edgesw.decoder.spec import DecoderSpec, Rotary
from edgesw.emit.mil_frame import Frame, mask_bias
from edgesw.emit.mil_weights import MilWeights
from edgesw.formats.activation_quantization import ActivationQuantization
from edgesw.formats.correction_names import COREML, mil_name

Var = Any

# Smallest row maximum that a norm divides by: below it float16 has no digits left to lose.
TINY = np.float16(1e-3)
# rsqrt adds this before it divides; Core ML's default is zero in float16.
SMALLEST = np.float16(6e-8)
# For inputs quantized to 8 bits: the largest integer, and the smallest scale, which is the smallest normal number.
LEVELS, TINY_SCALE = 127, np.finfo(np.float16).tiny


class MilOps:
    """`Ops` on MIL variables (1, q, channels), in float16. The residual stream is divided by `divisor`, which norms
    undo."""

    channels, tokens = -1, 1  # the axes

    def __init__(
        self,
        spec: DecoderSpec,
        weights: MilWeights,
        context: int,
        frame: Frame,
        ids: Var | None = None,
        divisor: float = 1.0,
        activations: ActivationQuantization | None = None,
    ) -> None:
        """`ids` int32 (1, q), where the embedding is wanted. `activations` have static ranges."""
        from coremltools.converters.mil.mil import Builder as mb

        self.mb, self.spec, self._weights, self._divisor = mb, spec, weights, divisor
        self._context, self._frame, self._ids, self._activations = context, frame, ids, activations
        self._quantized: dict[Hashable, Var] = {}
        self._rope_tables = [self._rope_table(number, rotary) for number, rotary in enumerate(spec.rotaries)]
        self._window_masks: dict[tuple[int, bool], Var] = {}

    def _rope_table(self, number: int, rotary: Rotary) -> list[Var]:
        """Cosines and sines (q, head_dim) at the tokens' positions; both halves of a head rotate by the same angles."""
        mb = self.mb
        tables = zip(("cos", "sin"), rotary_tables(rotary, self._context), strict=True)
        consts = [mb.const(val=np.tile(table, 2).astype(np.float16), name=f"{part}_{number}") for part, table in tables]
        # Padding may have positions beyond the context.
        places = mb.minimum(x=mb.squeeze(x=self._frame.positions, axes=[1]), y=np.int32(self._context - 1))
        return [mb.gather(x=const, indices=places, axis=0) for const in consts]

    def embedding(self, name: str) -> Var:
        rows = self._rows(self.mb.gather(x=self._weights.matrix(name)[0], indices=self._ids, axis=0))
        scale = self.spec.embedding_scale / self._divisor
        return rows if scale == 1 else self.mb.mul(x=rows, y=np.float16(scale))

    def norm(self, x: Var, name: str) -> Var:
        return self._norm(x, name, self.channels)

    def _norm(self, x: Var, name: str, axis: int) -> Var:
        """The squares of a super activation overflow float16, so the row is divided by its largest magnitude first, and
        epsilon by its square: x / sqrt(mean(x^2) + eps) = y / sqrt(mean(y^2) + eps / max^2) with y = x / max."""
        mb, axes = self.mb, [axis]
        largest = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=axes, keep_dims=True), y=TINY)
        y = mb.real_div(x=x, y=largest)
        if self.spec.norm == "layer":
            y = mb.sub(x=y, y=mb.reduce_mean(x=y, axes=axes, keep_dims=True))
        mean = mb.reduce_mean(x=mb.mul(x=y, y=y), axes=axes, keep_dims=True)
        # The root of epsilon is divided before it is squared: the square of the maximum would overflow.
        divisor = 1.0 if name.endswith(("q_norm", "k_norm")) else self._divisor
        root = mb.real_div(x=np.float16(np.sqrt(self.spec.norm_eps) / divisor), y=largest)
        scaled = mb.mul(x=y, y=mb.rsqrt(x=mb.add(x=mean, y=mb.mul(x=root, y=root)), epsilon=SMALLEST))
        if self.spec.norm == "layer":
            return scaled
        # The output of a norm that is added to the residual stream is divided as the stream is.
        factor = 1 / divisor if name.endswith("_output_norm") else 1.0
        return mb.mul(x=scaled, y=self._weights.vector(name, factor, after=_axes_after(x, axis)))

    def head_norm(self, x: Var, name: str) -> Var:
        split = self.mb.reshape(x=x, shape=[1, -1, x.shape[-1] // self.spec.head_dim, self.spec.head_dim])
        return self.mb.reshape(x=self.norm(split, name), shape=[1, -1, x.shape[-1]])

    def linear(self, x: Var, name: str) -> Var:
        mb, kind = self.mb, TensorName.parse(name).kind
        weight, corrections = self._weights.matrix(
            "embed_tokens" if kind == "lm_head" and self.spec.tied_head else name
        )
        if kind == "lm_head" and self._frame.last is not None:
            x = mb.gather(x=x, indices=self._frame.last, axis=self.tokens)
        # What is added to the residual stream is divided before the product: after it, it would have overflowed.
        divisor = self._divisor if kind in ("o_proj", "down_proj") else 1.0
        x = x if divisor == 1 else mb.mul(x=x, y=np.float16(1 / divisor))
        bias = {"bias": self._weights.vector(f"{name}.bias", 1 / divisor)} if kind in self.spec.biased else {}
        quantized = self._activations is not None and kind != "lm_head"
        y = self._product(self._quantize(x, name, corrections.columns, divisor) if quantized else x, weight, **bias)
        if (whole := corrections.columns) is not None:
            y = mb.add(x=y, y=self._columns(x, whole, mil_name(name) + COREML.column_deltas))
        if (each := corrections.scalars) is not None:
            deltas = each.delta.reshape(-1, *[1] * _axes_after(x, self.channels))
            # Names of their own, by which the functions of a program share them.
            factors, columns, rows = (
                mb.const(val=values, name=mil_name(name) + suffix)
                for values, suffix in (
                    (deltas, COREML.scalar_deltas),
                    (each.columns, COREML.scalar_columns),
                    (each.rows, COREML.scalar_rows),
                )
            )
            products = mb.mul(x=mb.gather(x=x, indices=columns, axis=self.channels), y=factors)
            y = mb.scatter(data=y, indices=rows, updates=products, axis=self.channels, mode="add")
        return y

    def _quantize(self, x: Var, name: str, held_out: ColumnCorrection | None, divisor: float) -> Var:
        """`x` quantized to 8 bits, with zeros in the held-out columns. Integers are symmetric about zero, as
        coremltools' own quantizer of activations makes them."""
        assert self._activations is not None
        mb, columns = self.mb, () if held_out is None else tuple(held_out.columns.tolist())
        scale = max(np.float16(self._activations.largest(name) / (LEVELS * divisor)), TINY_SCALE)
        if (key := (x.name, columns, float(scale))) not in self._quantized:  # query, key and value read one tensor
            if columns:
                mask = np.ones((x.shape[self.channels], *[1] * _axes_after(x, self.channels)), np.float16)
                mask[list(columns)] = 0
                x = mb.mul(x=x, y=mb.const(val=mask, name=mil_name(name) + COREML.input_mask))
            integers = mb.quantize(input=x, scale=scale, output_dtype="int8")
            self._quantized[key] = mb.dequantize(input=integers, scale=scale)
        return self._quantized[key]

    def _product(self, x: Var, weight: Var, **bias: Var) -> Var:
        return self.mb.linear(x=x, weight=weight, **bias)

    def _columns(self, x: Var, held_out: ColumnCorrection, name: str) -> Var:
        """x[..., columns] @ delta."""
        inputs = self.mb.gather(x=x, indices=held_out.columns, axis=-1)
        return self.mb.matmul(x=inputs, y=self.mb.const(val=held_out.delta, name=name))

    def linears(self, x: Var, names: Sequence[str]) -> tuple[Var, ...]:
        return tuple(self.linear(x, name) for name in names)

    def attention(self, layer: int, parts: tuple[Var, ...]) -> Var:
        spec, rotary = self.spec, self.spec.layer_rotary[layer]
        query, key, value = (
            self._split_heads(x, heads)
            for x, heads in zip(parts, (spec.heads, spec.kv_heads, spec.kv_heads), strict=True)
        )
        if rotary is not None:
            query, key = (self._rotate(x, *self._rope_tables[rotary]) for x in (query, key))
        rolling = layer in self._frame.plan.rolling
        update = self._update_rolling if rolling else self._update
        keys, values = (
            self._repeat(update(self._frame.plan.index(layer), self._frame.states[name], new))
            for name, new in zip(self._frame.plan.names(layer), (key, value), strict=True)
        )
        mask = self._window_mask(spec.layer_windows[layer], rolling)
        return self._join_heads(self._attend(query, keys, values, mask))

    def _attend(self, query: Var, keys: Var, values: Var, mask: Var) -> Var:
        if self.spec.attention_softcap is not None:
            return self._attend_in_steps(query, keys, values, mask)
        # The operator itself multiplies scores by head_dim^-0.5.
        extra = self.spec.score_scale * self.spec.head_dim**0.5
        query = query if abs(extra - 1) < 1e-6 else self.mb.mul(x=query, y=np.float16(extra))
        return self.mb.scaled_dot_product_attention(query=query, key=keys, value=values, attn_mask=mask)

    def gated(self, parts: tuple[Var, ...]) -> Var:
        mb, (gate, up) = self.mb, parts
        active = mb.silu(x=gate) if self.spec.activation == "silu" else mb.gelu(x=gate, mode="TANH_APPROXIMATION")
        return mb.mul(x=active, y=up)

    def add(self, a: Var, b: Var) -> Var:
        return self.mb.add(x=a, y=b)

    def clip(self, x: Var, bound: float) -> Var:
        return self.mb.clip(x=x, alpha=np.float16(-bound), beta=np.float16(bound))

    def softcap(self, x: Var, cap: float) -> Var:
        return self.mb.mul(x=self.mb.tanh(x=self.mb.mul(x=x, y=np.float16(1 / cap))), y=np.float16(cap))

    def _attend_in_steps(self, query: Var, keys: Var, values: Var, mask: Var) -> Var:
        """Attention without the fused operator, which cannot cap scores."""
        mb, cap = self.mb, self.spec.attention_softcap
        query = mb.mul(x=query, y=np.float16(self.spec.score_scale))
        scores = mb.matmul(x=query, y=keys, transpose_y=True)
        scores = scores if cap is None else self.softcap(scores, cap)
        return mb.matmul(x=mb.softmax(x=mb.add(x=scores, y=mask), axis=-1), y=values)

    def _window_mask(self, window: int | None, rolling: bool) -> Var:
        """The frame's mask, which also masks keys `window` or more tokens back."""
        mb, frame = self.mb, self._frame
        if window is None or window >= self._context:
            return frame.mask
        if (window, rolling) not in self._window_masks:
            tokens, mask = (frame.slots, frame.mask)
            if rolling:
                assert frame.rolling is not None
                tokens, mask = frame.rolling.tokens, frame.rolling.mask
            far = mb.greater_equal(x=mb.sub(x=frame.positions, y=tokens), y=np.int32(window))
            self._window_masks[window, rolling] = mb.add(x=mask, y=mask_bias(far))
        return self._window_masks[window, rolling]

    def _split_heads(self, x: Var, heads: int) -> Var:
        """(1, q, heads * head_dim) -> (1, heads, q, head_dim)."""
        split = self.mb.reshape(x=x, shape=[1, -1, heads, self.spec.head_dim])
        return self.mb.transpose(x=split, perm=[0, 2, 1, 3])

    def _join_heads(self, x: Var) -> Var:
        """(1, heads, q, head_dim) -> (1, q, heads * head_dim)."""
        flat = self.mb.transpose(x=x, perm=[0, 2, 1, 3])
        return self.mb.reshape(x=flat, shape=[1, -1, self.spec.heads * self.spec.head_dim])

    def _rows(self, rows: Var) -> Var:
        """Rows of the embedding (1, q, channels)."""
        return rows

    def _rotate(self, x: Var, cos: Var, sin: Var) -> Var:
        mb = self.mb
        first, second = mb.split(x=x, num_splits=2, axis=-1)
        swapped = mb.concat(values=[mb.mul(x=second, y=np.float16(-1)), first], axis=-1)
        return mb.add(x=mb.mul(x=x, y=cos), y=mb.mul(x=swapped, y=sin))

    def _update(self, layer: int, cache: Var, new: Var) -> Var:
        """Writes `new` (1, kv_heads, q, head_dim) into the state at this index; returns the first kv_length slots."""
        mb, spec, frame = self.mb, self.spec, self._frame
        batch = int(frame.plan.batched)
        begin = mb.concat(values=[[layer], *[[0]] * batch, [0], frame.past, [0]], axis=0)
        end = [[layer + 1], *[[1]] * batch, [spec.kv_heads]]
        state = self._write(cache, new, begin, mb.concat(values=[*end, frame.total, [spec.head_dim]], axis=0))
        return self._read(state, layer, mb.concat(values=[*end, frame.kv_length, [spec.head_dim]], axis=0))

    def _update_rolling(self, layer: int, cache: Var, new: Var) -> Var:
        """Returns the last tokens' (1, kv_heads, slots + q, head_dim): those in the state at this index, then `new`.
        The last of them that are not padding go into the state. Nothing wraps around, so that one slice moves it on."""
        mb, spec, plan, batch = self.mb, self.spec, self._frame.plan, int(self._frame.plan.batched)
        assert self._frame.rolling is not None
        begin = [layer, *[0] * batch, 0, 0, 0]
        end = [layer + 1, *[1] * batch, spec.kv_heads, plan.window, spec.head_dim]
        both = mb.concat(values=[self._read(mb.read_state(input=cache), layer, end), new], axis=2)
        latest = mb.slice_by_size(
            x=both,
            begin=mb.concat(values=[[0], [0], self._frame.rolling.advance, [0]], axis=0),
            size=[1, spec.kv_heads, plan.window, spec.head_dim],
        )
        self._write(cache, latest, begin, end)
        return both

    def _read(self, state: Var, layer: int, end: Var | list[int]) -> Var:
        """The contents of a state at this index, (1, kv_heads, slots, head_dim), up to `end` along its axes."""
        batch = int(self._frame.plan.batched)
        begin = [layer, *[0] * batch, 0, 0, 0]
        squeezed = [bool(batch), *[False] * batch, False, False, False]
        return self.mb.slice_by_index(x=state, begin=begin, end=end, squeeze_mask=squeezed)

    def _write(self, cache: Var, values: Var, begin: Var | list[int], end: Var | list[int]) -> Var:
        """The state with `values` (1, kv_heads, slots, head_dim) from `begin` to `end` along its axes."""
        mb = self.mb
        update = mb.expand_dims(x=values, axes=[0]) if self._frame.plan.batched else values
        updated = mb.slice_update(x=mb.read_state(input=cache), update=update, begin=begin, end=end)
        return mb.coreml_update_state(state=cache, value=updated)

    def _repeat(self, x: Var) -> Var:
        """Gives each query head its own key or value head: (1, kv_heads, slots, head_dim) -> (1, heads, slots,
        head_dim)."""
        mb, each = self.mb, self.spec.heads // self.spec.kv_heads
        if each == 1:
            return x
        tiled = mb.tile(x=mb.expand_dims(x=x, axes=[2]), reps=[1, 1, each, 1, 1])
        return mb.reshape(x=tiled, shape=[1, self.spec.heads, -1, self.spec.head_dim])


def _axes_after(x: Var, axis: int) -> int:
    """How many axes `x` has after this one."""
    return len(x.shape) - 1 - axis % len(x.shape)
