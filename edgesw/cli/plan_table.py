"""Plans as tables for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgesw.cli.tables import print_table
from edgesw.decoder.names import TensorName
from edgesw.system.sizes import format_size

if TYPE_CHECKING:
    from edgesw.compress.plan import CompressionPlan
    from edgesw.conversion.plans import Plans

COLUMNS = ("matrices", "scheme", "layers", "count", "size")


def print_plans(model: str, plans: Plans, *, err: bool = False) -> None:
    """Prints a table for each target, on stdout or on stderr."""
    for name, plan in plans.compressions.items():
        rows = [
            (row["matrices"], row["scheme"], ranges(row["layers"]), str(row["count"]), format_size(row["stored_bytes"]))
            for row in plan_rows(plan)
        ]
        rows.append(("", bits_per_weight(plan), "", "", format_size(plan.stored_bytes)))
        print_table(f"{model} for {name}", COLUMNS, rows, left=3, err=err)


def bits_per_weight(plan: CompressionPlan) -> str:
    """The code bits and stored bits per weight of the layers' matrices, in words."""
    return f"layers: {plan.code_bits:.2f} code bits, {plan.stored_bits:.2f} stored bits per weight"


def plan_rows(plan: CompressionPlan) -> list[dict[str, Any]]:
    """The scheme of each kind of matrix, in forward order; for mixed precision, the widths it may get."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for matrix in plan.matrices:
        name = TensorName.parse(matrix.name)
        kind, scheme = name.kind, matrix.scheme_text
        if plan.mixed_precision and name.layer is not None:
            widths = [option.bits for option in plan.mixed_precision.schemes[matrix.name]]
            scheme = f"{matrix.scheme.kind} {', '.join(map(str, widths[:-1]))} or {widths[-1]} bits, by sensitivity"
        new = {"matrices": kind, "count": 0, "scheme": scheme, "layers": [], "stored_bytes": 0}
        row = rows.setdefault((kind, scheme), new)
        row["count"] += 1
        row["stored_bytes"] += matrix.stored_bytes
        if name.layer is not None:
            row["layers"].append(name.layer)
    return list(rows.values())


def ranges(layers: list[int]) -> str:
    """Layer numbers as text: [0, 1, 2, 5] -> "0-2, 5"."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
