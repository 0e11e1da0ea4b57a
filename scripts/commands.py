"""Writes docs/commands.md: the --help of every command. `make docs` runs it; a test fails while the page is another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from edgesw.cli import cli

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
WIDTH = 100  # of the help, whatever the terminal's
HEAD = """# Commands

What `--help` says of every command. Made by `make docs`: change the command, not this page.
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"\n## {name}\n\n```text\n{text}\n```\n" for name, text in _helps(cli, "edgesw", None))


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """(`edgesw recipes list`, its help) of a command and of those below it."""
    with command.make_context(name, [], parent, resilient_parsing=True, terminal_width=WIDTH) as context:
        yield context.command_path, command.get_help(context)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                below = command.get_command(context, inner)
                assert below is not None
                if not below.hidden:
                    yield from _helps(below, inner, context)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
