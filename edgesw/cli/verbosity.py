"""How much goes to stderr: errors only (--quiet), notices and progress, or timings too (--verbose)."""

from __future__ import annotations

from dataclasses import dataclass

import click


@dataclass
class Verbosity:
    """The object of the command line's context. It outlives the context, because errors are printed after it ends."""

    quiet: bool = False
    verbose: bool = False
    resumes: bool = False
    """Whether the same command would resume what was interrupted."""


def verbosity() -> Verbosity:
    """The verbosity of the running command; the default outside of a command."""
    context = click.get_current_context(silent=True)
    asked = context.find_object(Verbosity) if context else None
    return asked or Verbosity()
