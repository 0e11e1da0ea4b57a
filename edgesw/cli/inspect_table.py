"""The contents of a model file as tables for people."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from edgesw.cli.plan_table import ranges
from edgesw.cli.tables import print_table
from edgesw.errors import printable
from edgesw.system.sizes import counted, format_size

if TYPE_CHECKING:
    from edgesw.inspect.contents import ModelContents, Port, Weight

# The first number in a name that stands between separators: rows that differ only in it are merged. After one of these
# words it is the number of a layer.
_NUMBER = re.compile(r"(?:(?<=[._/])|^)\d+(?=[._/])")
_LAYER = re.compile(r"(?:layers?|blocks?|h|past|key_values|present)[._/](\d{1,9})(?=[._/])")


def print_found(found: ModelContents) -> None:
    """Prints weights, with equal rows of several layers merged, bytes by kind, the interface, and operators."""
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    print_table(
        f"{found.path}: {found.format}, {versions}",
        ("weights", "shape", "scheme", "layers", "count", "held out", "bits per weight", "size"),
        _weight_rows(found.weights),
        left=4,
    )
    click.echo()
    kinds = found.bytes_by_kind
    rows = [(kind, format_size(size), f"{size / max(1, found.disk_bytes):.1%}") for kind, size in kinds.items()]
    print_table("Bytes", ("use", "size", "share"), [*rows, ("on disk", format_size(found.disk_bytes), "")])
    click.echo()
    print_table("Interface", ("name", "kind", "type", "shape", "layers"), _port_rows(found.ports), left=5)
    click.echo()
    click.echo(_summary(found))
    operators = printable(", ".join(f"{name} {count}" for name, count in found.operators.items()))
    click.echo(f"{counted(sum(found.operators.values()), 'operator')}: {operators}.")


def _summary(found: ModelContents) -> str:
    """One line about all compressed matrices together."""
    bits, whole = found.bits_per_weight, found.bits_with_held_out
    if bits is None or whole is None:
        return "No compressed matrices."
    matrices = found.compressed
    weights = sum(weight.elements for weight in matrices)
    held_out = f", {whole:.2f} with what is held out" if any(each.correction_bytes for each in matrices) else ""
    count = counted(len(matrices), "compressed matrix", "compressed matrices")
    return f"{count} of {counted(weights, 'weight')}: {bits:.2f} bits per weight stored{held_out}."


def _weight_rows(weights: Sequence[Weight]) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, str, str], list[Weight]] = defaultdict(list)
    for weight in weights:
        shape = " x ".join(map(str, weight.shape))
        groups[_kind(weight.name), shape, weight.scheme].append(weight)
    return [
        (
            kind,
            shape,
            scheme,
            _layers([each.name for each in group]),
            str(len(group)),
            _held_out(group),
            f"{8 * sum(each.stored_bytes for each in group) / max(1, sum(each.elements for each in group)):.2f}",
            format_size(sum(each.stored_bytes + each.correction_bytes for each in group)),
        )
        for (kind, shape, scheme), group in groups.items()
    ]


def _port_rows(ports: Sequence[Port]) -> list[tuple[str, ...]]:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for port in ports:
        kind = port.kind + (", may be left out" if port.optional else "")
        kind = f"{kind} of {port.function}" if port.function else kind
        shape = f"({', '.join(map(str, port.shape))})" if port.shape else ""
        groups[_kind(port.name), kind, port.type, shape].append(port.name)
    return [(*group, _layers(names)) for group, names in groups.items()]


def _kind(name: str) -> str:
    """The name without its layer: "layers.3.down_proj" is a "down_proj", "h.3.w" an "h.*.w"."""
    return _NUMBER.sub("*", name, count=1).removeprefix("layers.*.")


def _layers(names: Sequence[str]) -> str:
    numbers = {int(found.group(1)) for name in names if (found := _LAYER.search(name))}
    return ranges(sorted(numbers))


def _held_out(weights: Sequence[Weight]) -> str:
    columns = sum(weight.held_out_columns for weight in weights)
    scalars = sum(weight.held_out_scalars for weight in weights)
    return ", ".join(counted(number, noun) for number, noun in ((columns, "column"), (scalars, "scalar")) if number)
