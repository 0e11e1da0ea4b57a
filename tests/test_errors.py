"""Errors of the kinds that users meet, as such."""

from __future__ import annotations

import pytest

from edgesw.errors import CheckpointError, PackageError, UnsupportedError, first_line, near_names
from edgesw.runtime.advice import advised


@pytest.mark.parametrize(
    ("error", "advice"),
    [(UnsupportedError("no op x."), "On a Mac"), (PackageError("a blob is damaged."), "Convert again.")],
)
def test_what_goes_wrong_deep_inside_a_program_says_what_to_do(error: Exception, advice: str) -> None:
    """`gather: index 7 is outside an axis of 3.` leaves the user with nothing to try."""
    with pytest.raises(type(error)) as raised, advised():
        raise error
    assert str(raised.value).startswith(f"{error} ") and advice in str(raised.value)


def test_a_damaged_file_is_mended_where_it_comes_from() -> None:
    """A package's tokenizer cannot be downloaded again, a checkpoint's cannot be converted again."""
    assert (CheckpointError.again, PackageError.again) == ("download it again", "convert again")


def test_near_names_are_a_question_or_nothing() -> None:
    """The end of an error: a guess that is none must leave no half sentence."""
    assert near_names("smolm2", ["smollm2", "mistral"]) == " Did you mean 'smollm2'?"
    assert near_names("xyz", ["smollm2"]) == ""


def test_the_first_line_of_an_error_fits_into_a_message() -> None:
    """Other libraries write tracebacks into their messages, or nothing at all; ours are one line."""
    assert first_line(ValueError("no such op.\n  at line 3\n")) == "no such op"
    assert first_line(KeyError()) == "KeyError"
