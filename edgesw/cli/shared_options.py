"""Options of the commands that compare packages with their float model."""

from __future__ import annotations

import click


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
    "--text", help="UTF-8 file to measure on, or wikitext2 (downloaded from the hub).  [default: the shipped text]"
)
against_option = click.option(
    "--against", metavar="MODEL", help="The float model.  [default: the one the package was made from]"
)
other_model_option = click.option(
    "--other-model",
    is_flag=True,
    help="Compare with --against even if it is not the model that the package was made from.",
)
most_option = click.option(
    "--max-perplexity-increase",
    "most",
    default="20%",
    show_default=True,
    callback=share,
    help="Threshold of the verdict.",
)
