"""edgesw detect"""

from __future__ import annotations

from pathlib import Path

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, print_table, warn


@click.command()
@click.argument("model")
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option(
    "--write-recipe", "recipe_path", type=click.Path(path_type=Path), help="Write a recipe to this new NAME.yaml."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def detect(model: str, revision: str | None, recipe_path: Path | None, as_json: bool) -> None:
    """Find the super weights and super activations of MODEL.

    Streams the model layer by layer through forward passes over one short prompt. Removes the scalar that makes a super
    activation and repeats, until none is made.
    """
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.outliers.agreement import compare
    from edgesw.outliers.detect import PROMPT
    from edgesw.outliers.find import find_outliers
    from edgesw.recipe_file import check_recipe_path, measured_recipe, write_recipe
    from edgesw.tokenizer import Tokenizer

    if recipe_path is not None:
        check_recipe_path(recipe_path)  # before a model is fetched
    checkpoint = open_checkpoint(model, revision)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    with Bar() as bar:
        found = find_outliers(checkpoint, tokenizer, bar)
    source = checkpoint.source
    agreement = compare(source.recipe, found, checkpoint.spec)
    if agreement is not None:
        warn(agreement.warning())
    if recipe_path is not None:
        write_recipe(recipe_path, measured_recipe(recipe_path.stem, source, found, PROMPT))
        click.echo(f"Wrote {recipe_path}", err=True)
    if as_json:
        told = {"model": model, "origin": source.origin, "revision": source.revision, **found.to_dict()}
        print_json({**told, "agreement": agreement.to_dict() if agreement else None})
        return
    click.echo(f"{model} ({checkpoint.source.origin})\n")
    if found.super_weights:
        print_table(
            "Super weights: layers[layer].mlp.down_proj.weight[row, column]",
            ("layer", "row", "column", "value", "input spike", "output spike"),
            [
                (
                    str(w.layer),
                    str(w.row),
                    str(w.column),
                    *(f"{v:,.3f}" for v in (w.value, w.input_spike, w.output_spike)),
                )
                for w in found.super_weights
            ],
            left=0,
        )
    else:
        click.echo("No super weights found.")
    if agreement is not None:
        click.echo(agreement.summary())
    if found.super_activations:
        click.echo()
        print_table(
            "Super activations: channels of the residual stream",
            ("channel", "token", "magnitude", "after layers", "made by"),
            [
                (
                    str(a.channel),
                    ", ".join(map(str, a.tokens)),
                    f"{a.magnitude:,.1f}",
                    f"{a.first_layer} to {a.last_layer}",
                    "super weight" if a.from_super_weight else "no single scalar",
                )
                for a in found.super_activations
            ],
            left=0,
        )
