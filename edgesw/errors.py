"""Every error a user can meet. The command line prints the message as one line and exits with `exit_code`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgeswError(Exception):
    """Something failed while doing what was asked. The message says what, where, and what to do next."""

    exit_code = 1
    again = "try again"
    """What mends a damaged file of this kind."""


class UsageError(EdgeswError):
    """What was asked cannot be done: a wrong name, a wrong option, an input we do not take."""

    exit_code = 2


class UnreadableError(UsageError):
    """A file that was named is damaged, incomplete, or not of a kind that is read here."""


class UnsupportedError(EdgeswError):
    """A file holds something this version does not know: an op, a dtype, an architecture."""


class CheckpointError(EdgeswError):
    """A checkpoint is missing a file or a tensor, or is damaged."""

    again = "download it again"


class PackageError(EdgeswError):
    """A package is not one of ours, is incomplete, or does not match its manifest."""

    again = "convert again"


def near_names(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean 'a' or 'b'?` for the known names closest to `wrong`, or the empty string."""
    near = difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.5)
    return " Did you mean " + " or ".join(f"'{name}'" for name in near) + "?" if near else ""
