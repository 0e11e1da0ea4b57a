"""Tables and JSON on stdout, warnings and what else people may want to know on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgesw.cli.verbosity import verbosity
from edgesw.files.json_file import json_text


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, *, err: bool = False
) -> None:
    """A table whose first `left` columns are text and the others figures; on stderr, unless that
    is to be quiet, if `err`."""
    if err and verbosity().quiet:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", no_wrap=True, header_style="dim")
    for row in rows:
        table.add_row(*map(Text, row))
    # A terminal that is too narrow wraps a line; rich, if it knew, would cut the figures.
    console = Console(highlight=False, width=240, stderr=err)
    console.print(Text(title, "bold"), soft_wrap=True)  # a table's own title is wrapped to the table's width
    console.print(table)


def print_json(values: Any) -> None:
    """JSON, where a figure that is infinite or not a number is null: JSON has no word for it."""
    click.echo(json_text(values))


def warn(message: str | None) -> None:
    """One line on stderr, unless there is nothing to warn of."""
    if message:
        inform(f"Warning: {' '.join(message.split())}")


def inform(message: str) -> None:
    """One line on stderr, unless that is to be quiet."""
    if not verbosity().quiet:
        click.echo(message, err=True)
