"""Splits the layers into chunks, so that the largest chunk is as small as possible."""

from __future__ import annotations

from collections.abc import Sequence

from edgesw.compress.plan import CompressionPlan
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError
from edgesw.system.sizes import counted

# Packages of more than about 1.4 GB have failed to load on iPhones; half of that leaves room for the app itself.
MOST_BYTES = 700 << 20


def split_layers(spec: DecoderSpec, plan: CompressionPlan, chunks: int) -> list[range]:
    """The layers of each chunk, the largest as small as possible. The first also has the embedding, the last the head.

    Raises UsageError for more chunks than layers.
    """
    if chunks > spec.layers:
        layers = counted(spec.layers, "layer")
        raise UsageError(f"--chunks {chunks}: this model has only {layers}: ask for fewer chunks.")
    sizes = _sizes(spec, plan)
    low, high = max(sizes), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if len(_filled(sizes, middle)) <= chunks else (middle + 1, high)
    counts = _filled(sizes, low)
    while len(counts) < chunks:  # fewer would do: divides the longest until there are enough
        longest = counts.index(max(counts))
        counts[longest : longest + 1] = [counts[longest] // 2, counts[longest] - counts[longest] // 2]
    stops = [sum(counts[: n + 1]) for n in range(chunks)]
    return [range(stop - count, stop) for count, stop in zip(counts, stops, strict=True)]


def chunks_needed(spec: DecoderSpec, plan: CompressionPlan, most: int = MOST_BYTES) -> int:
    """The smallest number of chunks of at most `most` bytes each; a layer that is larger has a chunk of its own."""
    return len(_filled(_sizes(spec, plan), most))


def _sizes(spec: DecoderSpec, plan: CompressionPlan) -> list[int]:
    """Bytes of each layer; those of embedding and head count with the first and the last."""
    sizes = [0] * spec.layers
    for matrix in plan.matrices:
        own = TensorName.parse(matrix.name).layer
        ends = {"embed_tokens": [0, -1] if spec.tied_head else [0], "lm_head": [-1]}
        for layer in ends[matrix.name] if own is None else [own]:
            sizes[layer] += matrix.stored_bytes
    return sizes


def _filled(sizes: Sequence[int], most: int) -> list[int]:
    """The number of layers in each chunk if each takes as many as fit."""
    counts, room = [0], most
    for size in sizes:
        if size > room and counts[-1]:
            counts.append(0)
            room = most
        counts[-1] += 1
        room -= size
    return counts
