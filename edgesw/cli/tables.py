"""Output of commands: tables and JSON on stdout, warnings and notices on stderr."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgesw.cli.verbosity import verbosity
from edgesw.errors import printable
from edgesw.files.json_file import json_text


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, *, err: bool = False
) -> None:
    """Prints a table whose first `left` columns are text and whose other columns are figures. With `err` it goes to
    stderr, and with --quiet nowhere."""
    if err and verbosity().quiet:
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if index < left else "right", no_wrap=True, header_style="dim")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    # A terminal that is too narrow wraps lines. With its real width rich would cut figures off.
    console = Console(highlight=False, width=240, stderr=err)
    console.print(
        Text(printable(title), "bold"), soft_wrap=True
    )  # rich wraps a table's own title to the width of the table
    console.print(table)


def print_json(values: Any) -> None:
    """Prints JSON, with NaN and infinity as null."""
    click.echo(json_text(values))


def warn(message: str | None) -> None:
    """Prints a warning as one line on stderr; nothing for None."""
    if message:
        inform(f"Warning: {' '.join(message.split())}")


class Notices(logging.Handler):
    """Prints what the library logs as warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def inform(message: str) -> None:
    """Prints one line on stderr, unless --quiet is given."""
    if not verbosity().quiet:
        click.echo(printable(message), err=True)
