"""CompressionPlan: the scheme and the bits of each matrix, decided or with the options of mixed precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgesw.compress.block_scheme import BlockScheme
from edgesw.compress.budget import bit_budget, byte_budget
from edgesw.compress.capabilities import Capabilities
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.mixed_precision import MatrixPlan, MixedPrecision
from edgesw.compress.palette_scheme import PaletteScheme
from edgesw.compress.scheme import Scheme
from edgesw.decoder.names import TensorName
from edgesw.decoder.spec import DecoderSpec
from edgesw.errors import UsageError

BITS = range(2, 9)
INDEX_BYTES = 4
VALUE_BYTES = 2
HEAD_BITS = 8
SCHEMES: dict[str, type[Scheme]] = {scheme.kind: scheme for scheme in (PaletteScheme, BlockScheme)}

Schemes = tuple[tuple[str, Scheme], ...]


@dataclass(frozen=True)
class CompressionPlan:
    """The matrices of a decoder in forward order; a tied head is the embedding's own entry."""

    matrices: tuple[MatrixPlan, ...]
    mixed_precision: MixedPrecision | None = None
    """The options of the layers' matrices, if sensitivities are to decide; until then the matrices are a forecast."""

    @cached_property
    def _by_name(self) -> dict[str, MatrixPlan]:
        return {matrix.name: matrix for matrix in self.matrices}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def scheme(self, name: str) -> Scheme:
        """The scheme of the matrix with this name."""
        return self._by_name[name].scheme

    def measured(self, sensitivities: Mapping[str, Sequence[float]], corrections: int = 0) -> CompressionPlan:
        """The plan that the sensitivity of each option decides, matrix name -> nats per token. A budget of bytes pays
        for `corrections` bytes too."""
        mixed = self.mixed_precision
        assert mixed is not None
        mixed = mixed.without(corrections) if mixed.stored else mixed
        return CompressionPlan((*mixed.allocated(sensitivities), *self.matrices[len(mixed.options) :]))

    @property
    def layers(self) -> tuple[MatrixPlan, ...]:
        """The layers' matrices, without embedding and head."""
        return tuple(matrix for matrix in self.matrices if TensorName.parse(matrix.name).layer is not None)

    @property
    def summary(self) -> str:
        """The schemes of the layers' matrices as they are printed."""
        widths = sorted({matrix.scheme.bits for matrix in self.layers})
        if len(widths) == 1:
            return " and ".join(dict.fromkeys(matrix.scheme_text for matrix in self.layers))
        *first, last = map(str, widths)
        return f"{self.layers[0].scheme.kind} {', '.join(first)} and {last} bits, {self.code_bits:.2f} on average"

    @property
    def stored_bytes(self) -> int:
        """Bytes of all matrices, without corrections."""
        return sum(matrix.stored_bytes for matrix in self.matrices)

    def correction_bytes(self, hold_out: HoldOut) -> int:
        """Bytes of the corrections: a float16 value for every scalar, an index for every column, and two for every
        scalar outside the columns."""
        total = 0
        for matrix in self.matrices:
            own = hold_out.of(matrix.name)
            total += len(own.columns) * (VALUE_BYTES * matrix.rows + INDEX_BYTES)
            scalars = sum(column not in own.columns for _, column in own.scalars) + round(own.fraction * matrix.weights)
            total += scalars * (VALUE_BYTES + 2 * INDEX_BYTES)
        return total

    @property
    def schemes(self) -> Schemes:
        """Name and scheme of every matrix: targets that agree in them have the same matrices."""
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
    """Plans `bits` code bits per weight of the layers' matrices, or `size` bytes for all weights.

    All matrices get one width where the format has it; otherwise the plan has mixed precision, a forecast until it is
    `measured`. Palette entries are vectors of up to `cluster_dim` values (1, 2 or 4) where the format's codes can index
    them. Raises UsageError for bits outside 2 to 8, a scheme that the format lacks, a group size or a model that it
    cannot store, and a budget that its widths cannot meet.
    """
    if size is None and not BITS[0] <= bits <= BITS[-1]:
        raise UsageError(f"--bits {bits:g} is out of range: choose from 2 to 8.")
    if spec.head_dim % can.head_multiple:
        raise UsageError(
            f"this model's attention heads have {spec.head_dim} channels, and the runtime takes multiples of "
            f"{can.head_multiple} only: add --portable or another target."
        )
    kind = kind or ("palette" if cluster_dim > 1 else _preferred(can, None if size else bits))
    if kind not in can.widths:
        raise UsageError(f"this target has no {kind} scheme: choose from {', '.join(can.widths)}.")
    if kind == "block" and cluster_dim > 1:
        raise UsageError("--cluster-dim is for palettes: leave it out, or give --scheme palette.")
    ends = ("embed_tokens",) if spec.tied_head else ("embed_tokens", "lm_head")
    head = [_matrix(spec, name, can.end, embedding_bits, None, can) for name in ends]
    widths = can.widths[kind]
    if size is None and bits in widths:
        layers = [_matrix(spec, name, kind, int(bits), group, can, cluster_dim) for name in spec.matrices()]
        return CompressionPlan((*layers, *head))
    options = tuple(
        tuple(_matrix(spec, name, kind, width, group, can, cluster_dim) for width in widths) for name in spec.matrices()
    )
    if size is None:
        mixed = MixedPrecision(options, bit_budget(options, bits), stored=False)
    else:
        others = sum(matrix.stored_bytes for matrix in head)
        mixed = MixedPrecision(options, byte_budget(options, size, others), stored=True)
    return CompressionPlan((*mixed.forecast(), *head), mixed)


def _preferred(can: Capabilities, bits: float | None) -> str:
    """The first kind that has the width; for mixed precision, the kind with the most widths."""
    exact = (kind for kind, widths in can.widths.items() if bits in widths)
    return next(exact, max(can.widths, key=lambda kind: len(can.widths[kind])))


def _matrix(
    spec: DecoderSpec, name: str, kind: str, bits: int, group: int | None, can: Capabilities, cluster_dim: int = 1
) -> MatrixPlan:
    rows, columns = spec.matrix_shape(name)
    scheme: Scheme
    if can.whole_rows and TensorName.parse(name).layer is not None:
        scheme = BlockScheme(bits, columns)
    else:
        scheme = SCHEMES[kind].planned(rows, columns, bits, group, can, cluster_dim)
    return MatrixPlan(name, rows, columns, scheme, scheme.stored_bytes(rows, columns))
