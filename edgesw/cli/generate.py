"""edgesw generate"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("--target", help="Which model of the package.  [default: the first]")
@click.option("--max-tokens", default=64, show_default=True, type=click.IntRange(1), help="Most tokens to generate.")
@click.option(
    "--uncorrected",
    is_flag=True,
    help="Without what is held out, to see its effect: needs a package converted with --ablation.",
)
@click.option("--chat", is_flag=True, help="Put the prompt into the model's chat template.")
def generate(package: Path, prompt: str, target: str | None, max_tokens: int, uncorrected: bool, chat: bool) -> None:
    """Continue PROMPT with the model in PACKAGE, greedily, on this machine's runtime."""
    import edgesw

    opened = edgesw.open_package(package)
    pieces = opened.generate(prompt, target=target, max_tokens=max_tokens, chat=chat, corrected=not uncorrected)
    if not chat:
        click.echo(prompt, nl=False)
    for piece in pieces:
        click.echo(piece, nl=False)
    click.echo()
