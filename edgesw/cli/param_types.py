"""Options that are amounts: bits a weight, sizes like 1.8GB, lengths like 1,64, and chunks."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import click
from click.shell_completion import CompletionItem

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
MOST_BYTES = 2**62
_SIZE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([A-Za-z]+)")


class Size(click.ParamType[int]):
    """Bytes, from a number and its unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value.strip())
        if match is None or match[2].upper() not in UNITS:
            self.fail(f"'{value}' is no size: give a number with MB, GB, MiB or GiB, as in 1.8GB.", param, ctx)
        size = int(Decimal(match[1]) * UNITS[match[2].upper()])
        if size > MOST_BYTES:
            self.fail(f"'{value}' is more than any model has.", param, ctx)
        return size


class Bits(click.FloatRange):
    """2 to 8, whole or not. A whole number comes as int: `4`, not `4.0`."""

    name = "bits"

    def __init__(self) -> None:
        super().__init__(2, 8)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        bits = float(super().convert(value, param, ctx))
        return int(bits) if bits.is_integer() else bits


class Lengths(click.ParamType[tuple[int, ...]]):
    """Numbers of tokens, with commas between them."""

    name = "lengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",")]
        if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            self.fail(f"'{value}' is no list of lengths: give numbers of tokens, as in 1,64.", param, ctx)
        return tuple(map(int, parts))


class Chunks(click.ParamType[int]):
    """A number from 1, or auto, which is 0."""

    name = "chunks"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int) or value == "auto":
            return 0 if value == "auto" else int(value)
        if not (value.isascii() and value.isdigit() and len(value) < 10 and int(value)):
            self.fail(f"'{value}' is neither a number of chunks nor auto: give one of them.", param, ctx)
        return int(value)


class TargetName(click.ParamType[str]):
    """The name of a target, one of those in the registry when the command runs."""

    name = "target"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from edgesw.targets.registry import TARGETS

        return str(click.Choice(tuple(TARGETS)).convert(value, param, ctx))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        from edgesw.targets.registry import TARGETS

        return click.Choice(tuple(TARGETS)).get_metavar(param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from edgesw.targets.registry import TARGETS

        return click.Choice(tuple(TARGETS)).shell_complete(ctx, param, incomplete)
