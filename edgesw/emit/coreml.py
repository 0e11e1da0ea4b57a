"""Writes a decoder as a Core ML package: an ML Program made with the MIL builder, weights streamed to weight.bin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.decoder import CompressedDecoder
from edgesw.decoder.decoder import decoder
from edgesw.emit.mil_frame import flexible_frame
from edgesw.emit.mil_ops import MilOps
from edgesw.emit.mil_weights import MilWeights
from edgesw.emit.mlpackage import make_folders, write_spec
from edgesw.emit.weight_file import FILE, WeightFile, to_spec
from edgesw.quiet import coremltools

Var = Any

# Half of what float16 holds: texts differ from the one the residual stream was measured on.
ROOM = 32752.0
# swift-transformers feeds a mask one slot longer than the text so far, so the caches have at least one to spare.
MASK_SPARE = 1
SLOT_MULTIPLE = 32


def write_coreml(
    decoder_weights: CompressedDecoder,
    spec: DecoderSpec,
    context: int,
    name: str,
    package: Path,
    residual_max: float = 0.0,
) -> None:
    """Write `package` (an .mlpackage) for iOS 18 / macOS 15.

    `residual_max` is the largest magnitude seen in the residual stream so far: a stream that float16 could not
    hold is kept divided by a power of two.

    Inputs `inputIds` int32 (1, q) and, optional, `causalMask` float16 (1, 1, 1 or q, kv), added to the scores: kv at
    least the tokens seen so far, these q included; left out it is zeros over all slots. Causality is the program's own
    (see `flexible_frame`). States, all zeros in a new conversation: `keyCache` and `valueCache` float16
    (layers, 1, kv_heads, slots, head_dim), and `tokenCount` float16 (2,), how many tokens they hold: times 1024
    and rest. Output `logits` float16 (1, q, vocabulary).
    """
    ct = coremltools()
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

    mb.name_count.clear()  # or the names, and with them the bytes, tell of programs that were built before
    slots = -(-(context + MASK_SPARE) // SLOT_MULTIPLE) * SLOT_MULTIPLE
    cache = (spec.layers, 1, spec.kv_heads, slots, spec.head_dim)
    query, rows, reach = get_new_symbol(), get_new_symbol(), get_new_symbol()
    with WeightFile(make_folders(package) / FILE) as weights:
        offsets: dict[str, int] = {}

        @mb.program(  # type: ignore[untyped-decorator]
            input_specs=[
                mb.TensorSpec((1, query), dtype=types.int32),
                mb.TensorSpec((1, 1, rows, reach), dtype=types.fp16),
                mb.StateTensorSpec(cache, dtype=types.fp16),
                mb.StateTensorSpec(cache, dtype=types.fp16),
                mb.StateTensorSpec((2,), dtype=types.fp16),
            ],
            opset_version=ct.target.iOS18,
        )
        def program(inputIds: Var, causalMask: Var, keyCache: Var, valueCache: Var, tokenCount: Var) -> Var:
            consts = MilWeights(decoder_weights, weights, offsets)
            frame = flexible_frame(inputIds, causalMask, (keyCache, valueCache), tokenCount, slots)
            ops = MilOps(spec, consts, context, frame, residual_divisor(spec, residual_max))
            return mb.identity(x=decoder(ops), name="logits")

        length = ct.RangeDim(1, context, 1)
        mask = (1, 1, ct.RangeDim(1, context, 1), ct.RangeDim(1, slots, slots))
        program.functions["main"].set_input_types(
            (
                ct.TensorType("inputIds", shape=(1, length), dtype=np.int32),
                ct.TensorType(
                    "causalMask", shape=mask, dtype=np.float16, default_value=np.zeros((1, 1, 1, slots), np.float16)
                ),
            )
        )
        proto = to_spec(program, offsets, weights)
    proto.description.metadata.userDefined["co.huggingface.exporters.name"] = name
    write_spec(package, proto)


def residual_divisor(spec: DecoderSpec, residual_max: float) -> float:
    """The power of two, at least 1, by which the residual stream is divided to fit float16 with room to spare.

    1 for decoders that feed the stream to their matrices without a norm: there every part added to it is itself normed.
    """
    if residual_max <= ROOM or not spec.norm_before:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(2 * residual_max / ROOM)))
