"""Writes a decoder as Core ML packages: ML Programs built with the MIL builder, weights streamed to weight.bin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.split import split_layers
from edgesw.decoder.decoder import decoder_part
from edgesw.decoder.spec import DecoderSpec
from edgesw.emit.mil_caches import plan_caches
from edgesw.emit.mil_conv_ops import ConvOps
from edgesw.emit.mil_frame import Frame, fixed_frame, flexible_frame
from edgesw.emit.mil_ops import MilOps
from edgesw.emit.mil_weights import MilWeights, WeightStore
from edgesw.emit.mlpackage import make_folders, write_spec
from edgesw.emit.weight_file import WeightFile, to_spec
from edgesw.formats.coreml_layout import COMPUTE_KEY, COUNTER, CoreMLLayout, ProgramFunction, chunk_names
from edgesw.formats.weight_bin import FILE
from edgesw.formats.write_options import WriteOptions
from edgesw.system.log_filter import coremltools

Var = Any

# Half of the float16 range: other texts give larger values than the one on which the residual stream was measured.
RESIDUAL_LIMIT = 32752.0
# swift-transformers passes a mask one slot longer than the text so far, so the caches have at least one to spare.
MASK_SPARE = 1


def write_coreml(
    decoder: CompressedDecoder, spec: DecoderSpec, layout: CoreMLLayout, options: WriteOptions, path: Path
) -> None:
    """Writes `path`, an .mlpackage for iOS 18 / macOS 15, or a folder of several for a layout with chunks.

    A residual stream that float16 cannot hold is divided by a power of two. docs/formats.md lists inputs, states and
    outputs.
    """
    chunks = split_layers(spec, decoder.plan, layout.chunks)
    parts = [path] if len(chunks) == 1 else [path / name for name in chunk_names(len(chunks))]
    for layers, part in zip(chunks, parts, strict=True):
        _write_package(decoder, spec, layout, options, layers, part)


def _write_package(
    decoder: CompressedDecoder,
    spec: DecoderSpec,
    layout: CoreMLLayout,
    options: WriteOptions,
    layers: range,
    path: Path,
) -> None:
    coremltools()
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import Program

    mb.name_count.clear()  # otherwise names, and with them the bytes, depend on programs that were built before
    functions = layout.functions
    with WeightFile(make_folders(path) / FILE) as file:
        store, program = WeightStore(decoder, file, inputs_zeroed=options.activations is not None), Program()
        for function in functions:
            builder = _FunctionBuilder(spec, layout, options, layers, function, store)
            program.add_function(function.name, builder.build())
        program.default_function_name = functions[0].name
        program.export_as_multifunction = len(program.functions) > 1
        proto = to_spec(program, store.offsets, file)
    metadata = proto.description.metadata.userDefined
    metadata["co.huggingface.exporters.name"], metadata[COMPUTE_KEY] = options.name, layout.compute
    write_spec(path, proto)


class _FunctionBuilder:
    """Builds one function of a program over some layers."""

    def __init__(
        self,
        spec: DecoderSpec,
        layout: CoreMLLayout,
        options: WriteOptions,
        layers: range,
        function: ProgramFunction,
        store: WeightStore,
    ) -> None:
        from coremltools.converters.mil.mil import get_new_symbol

        self._spec, self._layout, self._options, self._layers, self._store = spec, layout, options, layers, store
        self._lengths, self._corrected = function.lengths, function.corrected
        self._tokens = self._lengths[0] if len(self._lengths) == 1 else get_new_symbol()
        self._first, self._last = layers.start == 0, layers.stop == spec.layers
        # Padding may be written beyond the context, and a mask may end there.
        spare = max(layout.lengths, default=MASK_SPARE + 1) - 1
        self._caches = plan_caches(spec, layers, options.context, spare, bool(self._lengths))

    def build(self) -> Any:
        from coremltools import target
        from coremltools.converters.mil.mil import Builder as mb
        from coremltools.converters.mil.mil import Function

        with Function(self._inputs(), target.iOS18) as function:
            inputs = function.inputs
            stream = None if self._first else inputs["hiddenStates"]
            ops = self._ops(inputs, self._frame(inputs))
            result = decoder_part(ops, self._layers, stream)
            function.set_outputs([mb.identity(x=result, name="logits" if self._last else "nextHiddenStates")])
        self._set_shapes(function)
        return function

    def _ops(self, inputs: dict[str, Var], frame: Frame) -> MilOps:
        convolutions = self._layout.convolutions
        return (ConvOps if convolutions else MilOps)(
            self._spec,
            MilWeights(self._store, (1, 1) if convolutions else (), self._corrected),
            self._options.context,
            frame,
            inputs.get("inputIds"),
            residual_divisor(self._spec, self._options.residual_max),
            self._options.activations,
        )

    def _frame(self, inputs: dict[str, Var]) -> Frame:
        from coremltools.converters.mil.mil import Builder as mb

        states = {name: inputs[name] for name in self._caches.shapes}
        axis = 1 if self._first or not self._layout.convolutions else 3
        new = mb.slice_by_index(x=mb.shape(x=next(iter(inputs.values()))), begin=[axis], end=[axis + 1])
        if not self._lengths:
            return flexible_frame(new, inputs["causalMask"], self._caches, states, inputs[COUNTER])
        return fixed_frame(new, inputs["position"], inputs.get("last"), self._caches, states, self._last)

    def _inputs(self) -> dict[str, Any]:
        """The inputs and states; the first input is the tokens, or the residual stream from the layers before."""
        from coremltools.converters.mil.mil import Builder as mb
        from coremltools.converters.mil.mil import get_new_symbol, types

        spec, tokens = self._spec, self._tokens
        inputs: dict[str, Any] = {}
        if self._first:
            inputs["inputIds"] = mb.TensorSpec((1, tokens), dtype=types.int32)
        else:
            channels_first = self._layout.convolutions
            stream = (1, spec.hidden_size, 1, tokens) if channels_first else (1, tokens, spec.hidden_size)
            inputs["hiddenStates"] = mb.TensorSpec(stream, dtype=types.fp16)
        if self._lengths:
            inputs["position"] = mb.TensorSpec((1,), dtype=types.int32)
            if (self._last or self._caches.rolling) and self._lengths != (1,):
                inputs["last"] = mb.TensorSpec((1,), dtype=types.int32)
        else:
            inputs["causalMask"] = mb.TensorSpec((1, 1, get_new_symbol(), get_new_symbol()), dtype=types.fp16)
            inputs[COUNTER] = mb.StateTensorSpec((2,), dtype=types.fp16)
        for name, shape in self._caches.shapes.items():
            inputs[name] = mb.StateTensorSpec(shape, dtype=types.fp16)
        return inputs

    def _set_shapes(self, function: Any) -> None:
        """Declares how many tokens the inputs may have, unless that is a single number."""
        from coremltools import EnumeratedShapes, RangeDim, TensorType

        if len(self._lengths) == 1:
            return
        context, slots = self._options.context, self._caches.slots
        name, dtype = ("inputIds", np.int32) if self._first else ("hiddenStates", np.float16)
        after = () if self._first else (self._spec.hidden_size,)
        if self._lengths:
            shapes = EnumeratedShapes([(1, length, *after) for length in self._lengths])
            function.set_input_types((TensorType(name, shape=shapes, dtype=dtype),))
            return
        mask = (1, 1, RangeDim(1, context, 1), RangeDim(1, slots, slots))
        all_visible = np.zeros((1, 1, 1, slots), np.float16)
        function.set_input_types(
            (
                TensorType(name, shape=(1, RangeDim(1, context, 1), *after), dtype=dtype),
                TensorType("causalMask", shape=mask, dtype=np.float16, default_value=all_visible),
            )
        )


def residual_divisor(spec: DecoderSpec, residual_max: float) -> float:
    """The power of two, at least 1, by which the residual stream is divided to fit float16 with room to spare.

    1 for decoders that pass the stream to their matrices without a norm: there every part that is added to it is itself
    normed.
    """
    if residual_max <= RESIDUAL_LIMIT or not spec.norm_before:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(2 * residual_max / RESIDUAL_LIMIT)))
