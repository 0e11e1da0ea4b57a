"""How much is said on stderr: errors alone (--quiet), what is worth knowing, or also what took how long (--verbose)."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Verbosity:
    """The object of the command line's context. It outlives the context: what ended a command is told afterwards."""

    quiet: bool = False
    verbose: bool = False
    resumes: bool = False
    """Whether the same command would resume what was interrupted."""


def verbosity() -> Verbosity:
    """What the running command was asked for; outside of a command nothing was."""
    context = click.get_current_context(silent=True)
    asked = context.find_object(Verbosity) if context else None
    return asked or Verbosity()
