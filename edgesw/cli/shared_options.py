"""Options of the commands that compare packages with their float model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from edgesw.validation.verdict import Limits

_Command = TypeVar("_Command", bound=Callable[..., Any])


def share(ctx: click.Context, option: click.Parameter, value: str) -> float:
    """Reads a percentage, `20%` or `20`, as a share: 0.2."""
    try:
        share = float(value.strip().removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise click.BadParameter(f"'{value}' is not a percentage such as 5%.", ctx, option)
    return share


text_option = click.option(
    "--text",
    help="UTF-8 file to measure on, or wikitext2 (downloaded from the hub).  [default: the shipped text, of six kinds]",
)
windows_option = click.option(
    "--windows",
    type=click.IntRange(1),
    help="Windows of each text.  [default: 2 of each kind of the shipped text, 8 of another]",
)
against_option = click.option(
    "--against", metavar="MODEL", help="The float model.  [default: the one the package was made from]"
)
other_model_option = click.option(
    "--other-model",
    is_flag=True,
    help="Compare with --against even if it is not the model that the package was made from.",
)


def limit_options(command: _Command) -> _Command:
    """Adds the limits of the verdict: the parameters of `limits`."""
    increase = click.option(
        "--max-perplexity-increase",
        default="30%",
        show_default=True,
        callback=share,
        help="Most increase in perplexity.",
    )
    top1 = click.option(
        "--min-top1", default="65%", show_default=True, callback=share, help="Least share of equal most likely tokens."
    )
    kl = click.option(
        "--max-kl", default=0.3, show_default=True, type=click.FloatRange(0), metavar="NATS", help="Most KL divergence."
    )
    return increase(top1(kl(command)))


def limits(max_kl: float, min_top1: float, max_perplexity_increase: float) -> Limits:
    from edgesw.validation.verdict import Limits

    return Limits(max_kl, min_top1, max_perplexity_increase)
