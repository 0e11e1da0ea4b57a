"""The errors that users can meet. The command line prints the message as one line and exits with `exit_code`."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 2000


class EdgeswError(Exception):
    """A request failed. The message says what is wrong, where, and what to do next."""

    exit_code = 1
    again = "try again"
    """How to repair a damaged file of this kind."""

    def __init__(self, message: str) -> None:
        super().__init__(_one_line(message))


class UsageError(EdgeswError):
    """A request that cannot be carried out: a wrong name, a wrong option, or an input that edgesw does not take."""

    exit_code = 2


class UnreadableError(UsageError):
    """A file named by the user is damaged, incomplete, or not of a kind that edgesw reads."""


class UnsupportedError(EdgeswError):
    """A file contains something that this version does not know: an op, a dtype, an architecture."""


class CheckpointError(EdgeswError):
    """A checkpoint is missing a file or a tensor, or is damaged."""

    again = "download it again"


class PackageError(EdgeswError):
    """A package was not made by edgesw, is incomplete, or does not match its manifest."""

    again = "convert again"


def _one_line(message: str) -> str:
    """The message, shortened and with unprintable characters escaped: it may hold names and values from a file, whose
    line breaks and escape sequences must not reach a terminal."""
    shown = printable(message[: 2 * _LONGEST])
    return shown if len(shown) <= _LONGEST and len(message) <= _LONGEST else f"{shown[: _LONGEST - 3]}..."


def printable(text: str) -> str:
    """The text with unprintable characters escaped, for a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without a full stop, or the name of its class where it says nothing: for a
    message of our own around it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def near_names(wrong: str, known: Iterable[str]) -> str:
    """` Did you mean 'a' or 'b'?` for the known names closest to `wrong`, or the empty string."""
    import difflib  # every start of the command line would pay for it

    near = difflib.get_close_matches(wrong, list(known), n=3, cutoff=0.5)
    return " Did you mean " + " or ".join(f"'{name}'" for name in near) + "?" if near else ""
