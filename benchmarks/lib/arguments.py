"""The arguments that several benchmarks take."""

from __future__ import annotations

import argparse
from collections.abc import Callable

WINDOW_TOKENS = 512


def at_least(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number from `least` up."""

    def parse(text: str) -> int:
        number = int(text)
        if number < least:
            raise argparse.ArgumentTypeError(f"{number} is too small: it must be at least {least}")
        return number

    parse.__name__ = "whole number"  # which argparse names when int() fails
    return parse


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`."""
    parser.add_argument("--model", default="smollm2-135m", help="a model as `edgesw convert` takes it (smollm2-135m)")


def add_text(parser: argparse.ArgumentParser, windows: int, *, least: int = 1) -> None:
    """`--text` and `--windows`."""
    parser.add_argument("--text", help="a UTF-8 file, or wikitext2 (default: the validation text in the package)")
    parser.add_argument(
        "--windows", type=at_least(least), default=windows, help=f"windows of {WINDOW_TOKENS} tokens ({windows})"
    )


def add_rounds(parser: argparse.ArgumentParser, rounds: int) -> None:
    """`--rounds`."""
    parser.add_argument("--rounds", type=at_least(1), default=rounds, help=f"rounds of interleaved timing ({rounds})")
