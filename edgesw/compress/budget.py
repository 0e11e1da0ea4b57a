"""The budget of the layers' matrices, in code bits or bytes. One that a format cannot meet is refused."""

from __future__ import annotations

from collections.abc import Sequence

from edgesw.compress.mixed_precision import MatrixPlan
from edgesw.errors import UsageError
from edgesw.system.sizes import format_size

Options = Sequence[Sequence[MatrixPlan]]
"""The options of each matrix, by ascending width; all matrices have the same widths."""


def bit_budget(options: Options, bits: float) -> int:
    """Code bits of all matrices at `bits` per weight on average. UsageError where the widths do not allow that."""
    schemes = [option.scheme for option in options[0]]
    if not schemes[0].bits <= bits <= schemes[-1].bits:
        raise UsageError(
            f"{bits:g}-bit {schemes[0].kind} is not possible on this target: its {schemes[0].kind} widths are "
            f"{', '.join(str(scheme.bits) for scheme in schemes)}. Choose another --bits or --scheme."
        )
    return int(bits * sum(each[0].weights for each in options))


def byte_budget(options: Options, size: int, others: int) -> int:
    """Bytes that remain of `size` for the layers' matrices. UsageError where no width fits, or where all of them do.

    `others` are the bytes of embedding and head.
    """
    least, most = (others + sum(each[at].stored_bytes for each in options) for at in (0, -1))
    narrow, wide = options[0][0].scheme.bits, options[0][-1].scheme.bits
    if size < least:
        raise UsageError(
            f"--size {format_size(size)} is too small: at {narrow} bits per weight this model has "
            f"{format_size(least)} of weights. Give more, or take a smaller model."
        )
    if size > most:
        raise UsageError(
            f"--size {format_size(size)} is more than this model can use: at {wide} bits per weight it has "
            f"{format_size(most)} of weights. Give less, or --bits {wide}."
        )
    return size - others
