"""Writes the result of a detection as a recipe file, which `read_recipes` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edgesw import __version__
from edgesw.checkpoint.source import Source
from edgesw.errors import UsageError
from edgesw.files.atomic_write import staged
from edgesw.files.writable import check_writable_file
from edgesw.outliers.results import SuperOutliers
from edgesw.outliers.results import SuperWeight as DetectedWeight
from edgesw.recipes.recipes import PerplexityRatios, Recipe, SuperWeight


def measured_recipe(name: str, source: Source, found: SuperOutliers, prompt: str) -> Recipe:
    """A recipe for the model at `source` with the super weights that `prompt` activated.

    It contains no path of this machine: a model from a local folder gets a hub id only from a known recipe.
    """
    known = source.recipe
    origin = f"{source.origin}, revision {source.revision}" if source.revision else source.origin
    what = "Detected" if found.super_weights else "None detected"
    how = "confirmed by effect" if found.confirmed else "by magnitude alone, effects not measured"
    influential = "".join(f" Influential: {s.coordinates}, {s.without_it()}." for s in found.influential if s.text)
    return Recipe(
        name,
        hub_id=source.hub_id,
        package=known.package if known else None,
        super_weights=tuple(_measured(weight) for weight in found.super_weights),
        cancels_at=found.cancels_at,
        notes=f"{what} by edgesw {__version__} on the prompt {prompt!r}, {how}, {origin}.{influential}",
        license=known.license if known else None,
    )


def recipe_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, which `read_recipes` reads back unchanged."""
    values: dict[str, Any] = {
        "name": recipe.name,
        "hub_id": recipe.hub_id,
        "aliases": list(recipe.aliases),
        "license": recipe.license,
        "package": recipe.package and vars(recipe.package),
        "super_weights": [_entry(weight) for weight in recipe.super_weights],
        "cancels_at": [list(at) for at in recipe.cancels_at],
        "notes": recipe.notes,
    }
    given = {key: value for key, value in values.items() if value}
    return yaml.safe_dump(given, sort_keys=False, default_flow_style=None, width=118, allow_unicode=True)


def check_recipe_path(path: Path) -> None:
    """UsageError when a recipe cannot be written to `path`: to be called before the work begins."""
    if path.suffix != ".yaml" or not path.stem:
        raise UsageError(
            f"'{path}' is not a valid recipe path: it must end with .yaml, after the recipe's name, as my-model.yaml."
        )
    if path.exists() or path.is_symlink():
        raise UsageError(f"'{path}' exists: remove it or choose another name.")
    check_writable_file(path, "choose another")


def write_recipe(path: Path, recipe: Recipe) -> None:
    """Writes `recipe` to a new file. UsageError if the file exists."""
    check_recipe_path(path)
    with staged(path) as (partial,):
        partial.write_text(recipe_yaml(recipe), encoding="utf-8")


def _measured(weight: DetectedWeight) -> SuperWeight:
    """With its effect on the text where that is largest, to four digits."""
    if not weight.text:
        return SuperWeight(weight.coordinates, ("measured",))
    most = max(weight.text, key=lambda effect: effect.together.kl)
    ratios = (float(f"{change.perplexity:.4g}") for change in (most.alone, most.together))
    return SuperWeight(weight.coordinates, ("measured",), perplexity=PerplexityRatios(*ratios))


def _entry(weight: SuperWeight) -> dict[str, Any]:
    entry: dict[str, Any] = {"at": list(weight.coordinates), "source": list(weight.sources)}
    if weight.disputed:
        entry["disputed"] = weight.disputed
    if weight.perplexity:
        entry["perplexity"] = weight.perplexity._asdict()
    return entry
