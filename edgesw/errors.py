"""Every error a user can meet. The command line prints the message as one line and exits with `exit_code`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST = 2000


class EdgeswError(Exception):
    """Something failed while doing what was asked. The message says what, where, and what to do next."""

    exit_code = 1
    again = "try again"
    """What mends a damaged file of this kind."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


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


def _one_line(message: str) -> str:
    """The message with what is not printable spelled out, and shortened: it may hold names and values out of a file,
    whose line breaks and escape sequences are not for a terminal."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message[: 2 * _LONGEST])
    return shown if len(shown) <= _LONGEST and len(message) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without a full stop, or the name of its class where it says nothing: for a
    message of our own around it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def near_names(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean 'a' or 'b'?` for the known names closest to `wrong`, or the empty string."""
    near = difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.5)
    return " Did you mean " + " or ".join(f"'{name}'" for name in near) + "?" if near else ""
