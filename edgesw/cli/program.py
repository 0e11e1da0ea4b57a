"""The group of all commands, and how they end: in an exit code, and for an error in one line on stderr."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from edgesw import __version__
from edgesw.cli import INTERRUPTED
from edgesw.cli.bench import bench
from edgesw.cli.compare import compare
from edgesw.cli.convert import convert
from edgesw.cli.demo_app import demo_app
from edgesw.cli.detect import detect
from edgesw.cli.doctor import doctor
from edgesw.cli.generate import generate
from edgesw.cli.inspect import inspect
from edgesw.cli.push import push
from edgesw.cli.recipes import recipes
from edgesw.cli.report import report
from edgesw.cli.study import study
from edgesw.cli.tables import Notices, inform
from edgesw.cli.validate import validate
from edgesw.cli.verbosity import Verbosity
from edgesw.cli.verify import verify
from edgesw.errors import EdgeswError, first_line, printable


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quiet", "-q", is_flag=True, help="Print only errors on stderr.")
@click.option(
    "--verbose", "-v", is_flag=True, help="Print how long each stage took, and where an unexpected error came from."
)
@click.version_option(__version__, prog_name="edgesw")
@click.pass_context
def cli(ctx: click.Context, quiet: bool, verbose: bool) -> None:
    """Compress Hugging Face language models into Core ML and ONNX packages, with their super weights held out.

    MODEL is a folder with safetensors, a .gguf file, a recipe's name (smollm2-135m, mistral-7b, ...) or a hub id.

    \b
    Exit codes:
      0    done
      1    failed
      2    wrong usage or input
      3    validation failed: too far from the float model
      130  interrupted (Ctrl-C)
    """
    if quiet and verbose:
        raise click.UsageError("--quiet and --verbose are mutually exclusive: give one of them.")
    asked = ctx.ensure_object(Verbosity)
    asked.quiet, asked.verbose = quiet, verbose
    notices = Notices()
    logging.getLogger("edgesw").addHandler(notices)
    ctx.call_on_close(lambda: logging.getLogger("edgesw").removeHandler(notices))
    if quiet:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # the hub's library draws its own
    if verbose:
        began = time.perf_counter()
        ctx.call_on_close(lambda: inform(f"{ctx.invoked_subcommand}: {time.perf_counter() - began:.1f} s in all"))


for command in (
    detect, convert, validate, compare, report, verify, inspect, bench, generate, push, demo_app, recipes, study,
    doctor,
):  # fmt: skip
    cli.add_command(command)


def run(arguments: Sequence[str] | None) -> int:
    """Runs a command line. Returns its exit code; every error that a user can meet is one line on stderr."""
    asked = Verbosity()
    with _interrupts() as pressed:
        try:
            return int(cli.main(arguments, prog_name="edgesw", standalone_mode=False, obj=asked) or 0)
        except (Exception, KeyboardInterrupt) as error:
            if pressed or isinstance(error, (click.Abort, KeyboardInterrupt)):
                left = "the finished matrices are kept: run the same command again to continue"
                return _say(f"interrupted; {left if asked.resumes else 'nothing was left behind'}.", INTERRUPTED)
            return _explain(error, asked.verbose)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """What has been pressed (Ctrl-C). Compiled code that meets a KeyboardInterrupt may raise an error of its own in its
    place: torch's slicing gives "could not determine the shape of object type"."""
    pressed: list[int] = []

    def press(number: int, frame: FrameType | None) -> None:
        pressed.append(number)
        signal.default_int_handler(number, frame)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _explain(error: Exception, verbose: bool) -> int:
    """One line on stderr and the exit code; with --verbose the error itself where it is none that a user can meet."""
    if isinstance(error, EdgeswError):
        return _say(str(error), error.exit_code)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return 2
    if isinstance(error, click.ClickException):
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "edgesw"
        message = error.format_message()
        return _say(f"{message}{'' if message.endswith(('.', '?')) else '.'} Try '{where} --help'.", error.exit_code)
    if isinstance(error, MemoryError):
        return _say("out of memory: `edgesw convert --dry-run` says how much a conversion needs.", 1)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say("the disk is full; nothing was left behind. Free some room, or write to another disk.", 1)
        if error.errno == errno.EFBIG:
            return _say("a file grew past what this system allows (`ulimit -f`); nothing was left behind.", 1)
        return _say(f"{error.filename or 'a file'}: {error.strerror or error}. See to the path and its permissions.", 1)
    if verbose:
        raise error
    return _say(
        f"edgesw failed in a way it should not ({_named(error)}). `edgesw --verbose ...` prints where: report that.",
        1,
    )


def _named(error: Exception) -> str:
    name = type(error).__name__
    return name if first_line(error) == name else f"{name}: {error}"


def _say(message: str, code: int) -> int:
    click.echo(f"Error: {printable(' '.join(message.split()))}", err=True)
    return code
