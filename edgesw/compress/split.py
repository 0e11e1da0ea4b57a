"""Which layers go into which of several packages, so that none is larger than it must be."""

from __future__ import annotations

from collections.abc import Sequence

from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.system.sizes import counted

# Beyond about 1.4 GB packages have failed to load on iPhones; half of that lets weights be mapped beside an app's own.
MOST_BYTES = 700 << 20


def split_layers(spec: DecoderSpec, plan: CompressionPlan, chunks: int) -> list[range]:
    """The layers of each chunk, the largest as small as it can be. The embedding is in the first, the head in the last.

    Raises UsageError for more chunks than layers.
    """
    if chunks > spec.layers:
        layers = counted(spec.layers, "layer")
        raise UsageError(f"--chunks {chunks}: this model has {layers} to share out: ask for fewer chunks.")
    sizes = _sizes(spec, plan)
    low, high = max(sizes), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(sizes, middle)) <= chunks else (middle + 1, high)
    counts = _filled(sizes, low)
    while len(counts) < chunks:  # fewer would do: the longest is divided, so that there are as many as were asked for
        longest = counts.index(max(counts))
        counts[longest : longest + 1] = [counts[longest] // 2, counts[longest] - counts[longest] // 2]
    stops = [sum(counts[: n + 1]) for n in range(chunks)]
    return [range(stop - count, stop) for count, stop in zip(counts, stops, strict=True)]


def chunks_needed(spec: DecoderSpec, plan: CompressionPlan, most: int = MOST_BYTES) -> int:
    """The fewest chunks that hold no more than `most` bytes each; a layer a chunk where one alone holds more."""
    return len(_filled(_sizes(spec, plan), most))


def _sizes(spec: DecoderSpec, plan: CompressionPlan) -> list[int]:
    """Bytes of each layer, those of embedding and head with the first and last."""
    sizes = [0] * spec.layers
    for matrix in plan.matrices:
        own = TensorName.parse(matrix.name).layer
        ends = {"embed_tokens": [0, -1] if spec.tied_head else [0], "lm_head": [-1]}
        for layer in ends[matrix.name] if own is None else [own]:
            sizes[layer] += matrix.stored_bytes
    return sizes


def _filled(sizes: Sequence[int], most: int) -> list[int]:
    """How many layers each chunk has when each takes as many as fit."""
    counts, room = [0], most
    for size in sizes:
        if size > room and counts[-1]:
            counts.append(0)
            room = most
        counts[-1] += 1
        room -= size
    return counts
