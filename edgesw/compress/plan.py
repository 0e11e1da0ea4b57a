"""CompressionPlan: which scheme and how many bits each matrix gets; a Mix where only a measurement can tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgesw.compress.budget import bit_budget, byte_budget
from edgesw.compress.matrix import Scheme
from edgesw.compress.mixed_precision import MatrixPlan, Mix
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError

BITS = range(2, 9)
INDEX_BYTES = 4
VALUE_BYTES = 2
DEFAULT_GROUP = {"palette": 16, "block": 32}
# A palette of vectors is large: by default it is shared by as many rows as bring it to a sixteenth of a bit per weight.
VECTOR_PALETTE_BITS = 1 / 16
HEAD_BITS = 8
# Up to this width a zero point buys more than its bits cost (measured on SmolLM2, see docs/compression.md).
ZERO_POINT_BITS = 4


@dataclass(frozen=True)
class Capabilities:
    """What a target's format can carry: code widths by scheme, and whether groups must fill the matrix exactly."""

    widths: dict[str, tuple[int, ...]]
    """Scheme kind -> code widths, ascending; the first kind that has a width is preferred."""
    whole_groups: bool
    """True: a group must divide its axis. False: blocks are powers of two from 16, and the last is padded."""
    head_multiple: int = 1
    """The runtime's attention takes heads of a multiple of this many channels."""
    whole_rows: bool = False
    """Blocks of the layers' matrices are whole rows, and nothing else."""
    end: str = "block"
    """Scheme kind of embedding and head."""


Schemes = tuple[tuple[str, Scheme], ...]


@dataclass(frozen=True)
class CompressionPlan:
    """The matrices of a decoder in forward order; a tied head is the embedding's own entry."""

    matrices: tuple[MatrixPlan, ...]
    mix: Mix | None = None
    """Where it is given, the layers' matrices are a forecast, and `measured` says what they will be."""

    @cached_property
    def _by_name(self) -> dict[str, MatrixPlan]:
        return {matrix.name: matrix for matrix in self.matrices}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def scheme(self, name: str) -> Scheme:
        return self._by_name[name].scheme

    def measured(self, harms: Mapping[str, Sequence[float]], corrections: int = 0) -> CompressionPlan:
        """The plan in which the mix is allocated by the harm of each of its options: matrix name -> nats per token.
        A budget of bytes pays for `corrections` bytes too."""
        assert self.mix is not None
        mix = self.mix.without(corrections) if self.mix.stored else self.mix
        return CompressionPlan((*mix.allocated(harms), *self.matrices[len(mix.options) :]))

    @property
    def layers(self) -> tuple[MatrixPlan, ...]:
        """The layers' matrices, without embedding and head."""
        return tuple(matrix for matrix in self.matrices if TensorName.parse(matrix.name).layer is not None)

    @property
    def summary(self) -> str:
        """The schemes of the layers' matrices, in words."""
        widths = sorted({matrix.scheme.bits for matrix in self.layers})
        if len(widths) == 1:
            return " and ".join(dict.fromkeys(matrix.words for matrix in self.layers))
        *first, last = map(str, widths)
        return f"{self.layers[0].scheme.kind} {', '.join(first)} and {last} bits, {self.code_bits:.2f} on average"

    @property
    def stored_bytes(self) -> int:
        return sum(matrix.stored_bytes for matrix in self.matrices)

    def correction_bytes(self, columns: Mapping[str, Collection[int]], fraction: float = 0.0) -> int:
        """Bytes of the corrections for columns that are held out, by matrix name, and for a fraction of the scalars of
        each of the layers' matrices: a float16 value for each scalar, an index for each column, two for a scalar."""
        rows = {matrix.name: matrix.rows for matrix in self.matrices}
        whole = sum(len(each) * (VALUE_BYTES * rows[name] + INDEX_BYTES) for name, each in columns.items())
        return whole + sum(round(fraction * m.weights) for m in self.layers) * (VALUE_BYTES + 2 * INDEX_BYTES)

    @property
    def schemes(self) -> Schemes:
        """Every matrix's name and scheme: targets with the same ones have the same matrices."""
        return tuple((matrix.name, matrix.scheme) for matrix in self.matrices)

    @property
    def code_bits(self) -> float:
        """Code bits per weight of the layers' matrices."""
        return sum(m.scheme.bits * m.weights for m in self.layers) / sum(m.weights for m in self.layers)

    @property
    def stored_bits(self) -> float:
        """Bits per weight of the layers' matrices with palettes, scales and zero points, without corrections."""
        return 8 * sum(m.stored_bytes for m in self.layers) / sum(m.weights for m in self.layers)

    @property
    def largest(self) -> int:
        """Weights in the largest matrix."""
        return max(matrix.weights for matrix in self.matrices)


def make_plan(
    spec: DecoderSpec,
    can: Capabilities,
    bits: float = 4,
    kind: str | None = None,
    group: int | None = None,
    *,
    size: int | None = None,
    embedding_bits: int = HEAD_BITS,
    cluster_dim: int = 1,
) -> CompressionPlan:
    """Plan for `bits` code bits per weight of the layers' matrices, or for `size` bytes of weights, all counted.

    One width for all where the format has it, else a mix of those it has: a forecast, until it is `measured`. Palettes
    have vectors of up to `cluster_dim` values where a code of the format's widths can hold them, 1 or 2 or 4.
    Raises UsageError for bits outside 2 to 8, a scheme the format lacks, a group size or a model it cannot carry, and
    for a budget that the format's widths cannot meet.
    """
    if size is None and not BITS[0] <= bits <= BITS[-1]:
        raise UsageError(f"--bits {bits:g} is out of range: choose from 2 to 8.")
    if spec.head_dim % can.head_multiple:
        raise UsageError(
            f"this model's attention heads have {spec.head_dim} channels, and the runtime takes multiples of "
            f"{can.head_multiple} only: take --portable or another target."
        )
    kind = kind or ("palette" if cluster_dim > 1 else _preferred(can, None if size else bits))
    if kind not in can.widths:
        raise UsageError(f"this target has no {kind} scheme: choose from {', '.join(can.widths)}.")
    if kind == "block" and cluster_dim > 1:
        raise UsageError("--cluster-dim is for palettes: leave it out, or give --scheme palette.")
    ends = ("embed_tokens",) if spec.tied_head else ("embed_tokens", "lm_head")
    head = [_matrix(spec, name, can.end, embedding_bits, DEFAULT_GROUP[can.end], can) for name in ends]
    widths = can.widths[kind]
    if size is None and bits in widths:
        layers = [_matrix(spec, name, kind, int(bits), group, can, cluster_dim) for name in spec.matrices()]
        return CompressionPlan((*layers, *head))
    options = tuple(
        tuple(_matrix(spec, name, kind, width, group, can, cluster_dim) for width in widths) for name in spec.matrices()
    )
    if size is None:
        mix = Mix(options, bit_budget(options, bits), stored=False)
    else:
        mix = Mix(options, byte_budget(options, size, sum(matrix.stored_bytes for matrix in head)), stored=True)
    return CompressionPlan((*mix.forecast(), *head), mix)


def _preferred(can: Capabilities, bits: float | None) -> str:
    """The first kind that has the width; for a mix, the one with most widths to mix."""
    exact = (kind for kind, widths in can.widths.items() if bits in widths)
    return next(exact, max(can.widths, key=lambda kind: len(can.widths[kind])))


def _matrix(
    spec: DecoderSpec, name: str, kind: str, bits: int, group: int | None, can: Capabilities, cluster_dim: int = 1
) -> MatrixPlan:
    rows, columns = spec.matrix_shape(name)
    vector = _vector(rows, bits, cluster_dim, can) if kind == "palette" else 1
    axis = rows if kind == "palette" else columns
    if can.whole_rows and TensorName.parse(name).layer is not None:
        scheme = Scheme(kind, bits, columns)
        return MatrixPlan(name, rows, columns, scheme, scheme.stored_bytes(rows, columns))
    if group is None:
        enough = 16 * vector * 2 ** (bits * vector) / (columns * VECTOR_PALETTE_BITS)
        group = DEFAULT_GROUP[kind] if vector == 1 else max(DEFAULT_GROUP[kind], round(enough))
    if group < 0 or (kind == "block" and group < 1):
        raise UsageError(f"--group-size {group} is no size: give a positive number (palette: 0 for one per matrix).")
    if can.whole_groups and group:
        group = vector * nearest_divisor(axis // vector, group / vector)
    elif not can.whole_groups and (group < 16 or group & (group - 1)):
        raise UsageError(f"--group-size {group}: this target takes powers of two from 16.")
    zero_points = kind == "block" and bits <= ZERO_POINT_BITS
    scheme = Scheme(kind, bits, group, zero_points, vector)
    return MatrixPlan(name, rows, columns, scheme, scheme.stored_bytes(rows, columns))


def _vector(rows: int, bits: int, cluster_dim: int, can: Capabilities) -> int:
    """The longest vector, of a power of two up to `cluster_dim`, whose code has a width of the format."""
    lengths = (n for n in (4, 2) if n <= cluster_dim and rows % n == 0 and n * bits in can.widths["palette"])
    return next(lengths, 1)


def nearest_divisor(axis: int, group: float) -> int:
    """The divisor of `axis` nearest to `group` by ratio."""
    divisors = [n for n in range(1, axis + 1) if axis % n == 0]
    return min(divisors, key=lambda n: max(n / group, group / n))
