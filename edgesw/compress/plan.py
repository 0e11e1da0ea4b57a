"""CompressionPlan: which scheme and how many bits each matrix gets, decided before anything is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from edgesw.checkpoint.spec import DecoderSpec
from edgesw.compress.matrix import Scheme
from edgesw.errors import UsageError

BITS = range(2, 9)
INDEX_BYTES = 4
DEFAULT_GROUP = {"palette": 16, "block": 32}
HEAD_BITS = 8
# Up to this width a zero point buys more than its bits cost (measured on SmolLM2, see docs/compression.md).
ZERO_POINT_BITS = 4
# When only some matrices can be wider, these go first: the ones that write to the residual stream, then the small ones.
WIDEN_FIRST = ("down_proj", "v_proj", "o_proj", "k_proj", "q_proj", "gate_proj", "up_proj")


@dataclass(frozen=True)
class Capabilities:
    """What a target's format can carry: code widths by scheme, and whether groups must fill the matrix exactly."""

    widths: dict[str, tuple[int, ...]]
    """Scheme kind -> code widths, ascending; the first kind that has a width is preferred."""
    whole_groups: bool
    """True: a group must divide its axis. False: blocks are powers of two from 16, and the last is padded."""
    scale_bits: int
    """Width of a stored scale."""
    head_multiple: int = 1
    """The runtime's attention takes heads of a multiple of this many channels."""


@dataclass(frozen=True)
class MatrixPlan:
    """One matrix: (rows, columns) and its scheme."""

    name: str
    rows: int
    columns: int
    scheme: Scheme
    stored_bytes: int

    @property
    def weights(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class CompressionPlan:
    """The matrices of a decoder in forward order; a tied head is the embedding's own entry."""

    matrices: tuple[MatrixPlan, ...]

    @cached_property
    def _by_name(self) -> dict[str, MatrixPlan]:
        return {matrix.name: matrix for matrix in self.matrices}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def scheme(self, name: str) -> Scheme:
        return self._by_name[name].scheme

    @property
    def stored_bytes(self) -> int:
        return sum(matrix.stored_bytes for matrix in self.matrices)

    def correction_bytes(self, columns: Mapping[str, Collection[int]]) -> int:
        """Bytes of the corrections for what is held out of these columns, by matrix name: float16 values and an index
        for each column, whether it is held out whole or a scalar of it is."""
        rows = {matrix.name: matrix.rows for matrix in self.matrices}
        return sum(len(each) * (2 * rows[name] + INDEX_BYTES) for name, each in columns.items())

    @property
    def largest(self) -> int:
        """Weights in the largest matrix."""
        return max(matrix.weights for matrix in self.matrices)


def make_plan(
    spec: DecoderSpec, can: Capabilities, bits: int, kind: str | None = None, group: int | None = None
) -> CompressionPlan:
    """Plan for `bits` code bits per weight of the layers' matrices, on average where the format lacks the width itself.

    Raises UsageError for bits outside 2 to 8, a scheme the format lacks, a group size or a model it cannot carry.
    """
    if bits not in BITS:
        raise UsageError(f"--bits {bits} is out of range: choose from 2 to 8.")
    if spec.head_dim % can.head_multiple:
        raise UsageError(
            f"this model's attention heads have {spec.head_dim} channels, and the runtime takes multiples of "
            f"{can.head_multiple} only."
        )
    kind = kind or next((kind for kind, widths in can.widths.items() if bits in widths), next(iter(can.widths)))
    if kind not in can.widths:
        raise UsageError(f"this target has no {kind} scheme: choose from {', '.join(can.widths)}.")
    group = DEFAULT_GROUP[kind] if group is None else group
    widths = _widths(spec, bits, can.widths[kind], kind)
    layers = [_matrix(spec, name, kind, widths[name], group, can) for name in spec.matrices()]
    ends = ("embed_tokens",) if spec.tied_head else ("embed_tokens", "lm_head")
    head = [_matrix(spec, name, "block", HEAD_BITS, DEFAULT_GROUP["block"], can) for name in ends]
    return CompressionPlan((*layers, *head))


def _matrix(spec: DecoderSpec, name: str, kind: str, bits: int, group: int, can: Capabilities) -> MatrixPlan:
    rows, columns = spec.matrix_shape(name)
    axis = rows if kind == "palette" else columns
    if group < 0 or (kind == "block" and group < 1):
        raise UsageError(f"--group-size {group} is no size: give a positive number (palette: 0 for one per matrix).")
    if can.whole_groups and group:
        group = _nearest_divisor(axis, group)
    elif not can.whole_groups and (group < 16 or group & (group - 1)):
        raise UsageError(f"--group-size {group}: this target takes powers of two from 16.")
    zero_points = kind == "block" and bits <= ZERO_POINT_BITS
    scheme = Scheme(kind, bits, group, zero_points)
    return MatrixPlan(name, rows, columns, scheme, scheme.stored_bytes(rows, columns, can.scale_bits))


def _nearest_divisor(axis: int, group: int) -> int:
    """The divisor of `axis` nearest to `group` by ratio."""
    divisors = [n for n in range(1, axis + 1) if axis % n == 0]
    return min(divisors, key=lambda n: max(n / group, group / n))


def _widths(spec: DecoderSpec, bits: int, native: tuple[int, ...], kind: str) -> dict[str, int]:
    """Code width of each matrix: `bits` where the format has it, else the next lower and higher, mixed to average."""
    names = spec.matrices()
    if bits in native:
        return dict.fromkeys(names, bits)
    lower = [width for width in native if width < bits]
    upper = [width for width in native if width > bits]
    if not lower or not upper:
        raise UsageError(
            f"{bits}-bit {kind} is not possible on this target: its {kind} widths are "
            f"{', '.join(map(str, native))}. Choose another --bits or --scheme."
        )
    low, high = lower[-1], upper[0]
    size = {name: spec.matrix_shape(name)[0] * spec.matrix_shape(name)[1] for name in names}
    spare = (bits - low) * sum(size.values())
    widths = dict.fromkeys(names, low)
    for name in sorted(names, key=lambda name: WIDEN_FIRST.index(name.rsplit(".", 1)[-1])):
        cost = (high - low) * size[name]
        if cost <= spare:
            widths[name] = high
            spare -= cost
    return widths
