"""Options that are amounts: bits a weight, and sizes like 1.8GB."""

from __future__ import annotations

import re
from typing import Any

import click

UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
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
        return int(float(match[1]) * UNITS[match[2].upper()])


class Bits(click.FloatRange):
    """2 to 8, whole or not. A whole number comes as int: `4`, not `4.0`."""

    name = "bits"

    def __init__(self) -> None:
        super().__init__(2, 8)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        bits = float(super().convert(value, param, ctx))
        return int(bits) if bits.is_integer() else bits
