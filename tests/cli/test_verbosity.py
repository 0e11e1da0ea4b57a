"""--quiet, --verbose and NO_COLOR: how much is said, and how."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from tiny import assert_one_line, edgesw

from edgesw.cli.program import cli, run
from edgesw.cli.tables import inform, print_table, warn

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


def on_terminal(run: Callable[[], object]) -> str:
    """What `run` writes where stdout and stderr are a pseudo-terminal."""
    ours, theirs = pty.openpty()
    pieces: list[bytes] = []

    def read() -> None:
        with contextlib.suppress(OSError):  # Linux' end of a terminal nobody holds open
            while piece := os.read(ours, 4096):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as terminal, contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        run()
    reader.join()
    os.close(ours)
    return b"".join(pieces).decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def talker(monkeypatch: pytest.MonkeyPatch) -> None:
    """`edgesw talk`, which says all that a command can say."""

    @click.command()
    def talk() -> None:
        warn("mind the gap")
        inform("Wrote it")
        print_table("plans", ("of", "it"), [("a", "b")], err=True)
        click.echo("data")

    monkeypatch.setitem(cli.commands, "talk", talk)


def test_quiet_leaves_data_and_errors(talker: None) -> None:
    """A script's log would fill with what it does not ask for; and what it asks for, or what failed, must not go."""
    ran = edgesw("talk")
    assert ran.out == "data\n"
    assert all(words in ran.err for words in ("Warning: mind the gap", "Wrote it", "plans"))
    ran = edgesw("--quiet", "talk")
    assert (ran.code, ran.out, ran.err) == (0, "data\n", "")
    assert edgesw("-q", "talk").err == ""
    assert_one_line(edgesw("--quiet", "detect", "/no/such/folder"), 2, "does not exist")
    assert_one_line(edgesw("-q", "-v", "talk"), 2, "mutually exclusive", "Try 'edgesw --help'.")


def test_quiet_draws_no_progress_on_a_terminal(tiny_llama: Path, terminal: None) -> None:
    """Whoever asks for quiet does so on a terminal: elsewhere there is no bar to be rid of."""
    words = ["detect", "--fast", "--json", str(tiny_llama)]
    assert "Finding super weights" in on_terminal(lambda: run(words))
    quiet = on_terminal(lambda: run(["--quiet", *words]))
    assert quiet.startswith("{") and "\x1b" not in quiet


def test_verbose_says_what_took_how_long(tiny_llama: Path) -> None:
    """The answer to `why is it slow` would take a profiler; and data on stdout must be the same."""
    plain, verbose = (edgesw(*option, "detect", "--fast", tiny_llama) for option in ((), ("--verbose",)))
    assert plain.err == "" and verbose.out == plain.out
    *stages, all_of_it = verbose.err.splitlines()
    assert [re.sub(r"\d+\.\d", "1.2", line) for line in stages] == ["Finding super weights: 1.2 s"]
    assert re.fullmatch(r"detect: \d+\.\d s in all", all_of_it)


def test_an_unexpected_error_is_one_line_and_verbose_shows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback tells a user nothing, and without one nobody can mend the fault."""

    @click.command()
    def fail() -> None:
        raise AssertionError("that cannot be")

    monkeypatch.setitem(cli.commands, "fail", fail)
    assert_one_line(edgesw("fail"), 1, "AssertionError: that cannot be", "edgesw --verbose", "report")
    with pytest.raises(AssertionError, match="that cannot be"):
        edgesw("--verbose", "fail")


@pytest.mark.parametrize("colours", [True, False])
def test_no_color_is_honoured(colours: bool, tiny_llama: Path, terminal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://no-color.org: escape sequences of colours are unreadable to some eyes and to some terminals."""
    if not colours:
        monkeypatch.setenv("NO_COLOR", "1")
    for words in (["--help"], ["recipes", "list"], ["detect", "--fast", str(tiny_llama)]):
        written = on_terminal(lambda words=words: run(words))
        assert len(written) > 500
        if not colours:
            assert not COLOUR.search(written), words
    if colours:
        assert COLOUR.search(written), "the progress bar has no colours anyway, so this tests nothing"


def test_exit_codes_are_in_the_help() -> None:
    """A script that gates on a code must be able to look up what it means."""
    _, codes = edgesw("--help").out.split("Exit codes:\n")
    assert re.findall(r"^ +(\d+) ", codes, re.MULTILINE) == ["0", "1", "2", "3", "130"]
