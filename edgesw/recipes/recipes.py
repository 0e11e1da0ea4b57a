"""Recipes: what is known about a model by its name. Each is a YAML file, read strictly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import yaml

from edgesw.errors import EdgeswError, UsageError, near_names
from edgesw.recipes.coordinates import Coordinates
from edgesw.recipes.recipe_schema import Fields

SOURCES = {
    "code": "the map of super weights in the code of arXiv 2411.07191",
    "table": "table 2 of arXiv 2411.07191",
    "measured": "measured on the model's own weights",
    "base": "taken over from the base model, not published for this one",
}
"""Who claims that a scalar is a super weight: the sources that a recipe may name, and what they mean."""

DEEPEST = 20
"""Levels of nesting that a recipe may have."""
_REQUIRED = {"name"}
_OPTIONAL = {"hub_id", "aliases", "package", "super_weights", "cancels_at", "notes", "license"}


class PerplexityRatios(NamedTuple):
    """What a text's perplexity becomes without a super weight, as multiples of the float model's."""

    alone: float
    """With only this one zeroed."""
    together: float
    """With those zeroed too that stand in for it."""


class SuperWeight(NamedTuple):
    """A known super weight, with its sources (keys of SOURCES)."""

    coordinates: Coordinates
    sources: tuple[str, ...]
    disputed: str | None = None
    """What another source or a measurement says against it; None if nothing does."""
    perplexity: PerplexityRatios | None = None
    """Its effect, where it was measured."""


@dataclass(frozen=True)
class RecipePackage:
    """A Python package that contains the model."""

    module: str
    """The import name; the package is located, never imported."""
    files: str
    """A pattern that matches the single model file in the package's folder."""
    pypi: str
    """The name to `pip install`."""


@dataclass(frozen=True)
class Recipe:
    """What is known about a model."""

    name: str
    hub_id: str | None = None
    """owner/name on the hub; None if the model is not there, or its repository is unknown."""
    aliases: tuple[str, ...] = ()
    package: RecipePackage | None = None
    super_weights: tuple[SuperWeight, ...] = ()
    cancels_at: tuple[Coordinates, ...] = ()
    """Scalars that cancel the super activation: as large as super weights, but harmless to remove."""
    notes: str = ""
    license: str | None = None
    """An SPDX expression; `LicenseRef-...` where SPDX has no identifier."""

    @property
    def names(self) -> tuple[str, ...]:
        """All names that find this recipe."""
        return (self.name, *self.aliases, *([self.hub_id] if self.hub_id else []))


def find_recipe(name: str) -> Recipe:
    """Like `load_recipe`, but raises UsageError, with similar names, if there is no such recipe."""
    recipe = load_recipe(name)
    if recipe is None:
        near = near_names(name, (known for recipe in all_recipes() for known in recipe.names))
        raise UsageError(f"there is no recipe '{name}'.{near} `edgesw recipes list` names them all.")
    return recipe


def load_recipe(name: str) -> Recipe | None:
    """The recipe with this name, alias or hub id (case-insensitive), or None."""
    wanted = name.casefold()
    return next((recipe for recipe in all_recipes() if wanted in (known.casefold() for known in recipe.names)), None)


@lru_cache(maxsize=1)
def all_recipes() -> tuple[Recipe, ...]:
    """All recipes that ship with edgesw, by name. EdgeswError for a file that breaks the schema."""
    return read_recipes(_recipes_folder())


def read_recipes(folder: Path) -> tuple[Recipe, ...]:
    """The recipes of a folder, by name. EdgeswError names the file and the key or name that is wrong."""
    recipes: list[Recipe] = []
    owners: dict[str, str] = {}  # name -> file
    for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem):
        recipe = _read(path)
        for known in {name.casefold() for name in recipe.names}:
            if known in owners:
                raise EdgeswError(
                    f"recipe {path.name}: '{known}' already belongs to {owners[known]}: use another name."
                )
            owners[known] = path.name
        recipes.append(recipe)
    return tuple(recipes)


def _recipes_folder() -> Path:
    """`edgesw/_recipes` in an installed wheel, the repository's `recipes/` in a source tree."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "_recipes", here.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise EdgeswError("the recipes are missing from this installation: reinstall edgesw")


def _read(path: Path) -> Recipe:
    try:
        text = path.read_text(encoding="utf-8")
        _check_plain(text)
        values = yaml.safe_load(text)
    # Besides its own errors, PyYAML raises those of the Python types that it constructs.
    except (yaml.YAMLError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise EdgeswError(
            f"recipe {path.name}: not readable as YAML ({' '.join(str(error).split())}): correct it."
        ) from error
    fields = Fields(path.name, "", values, required=_REQUIRED, optional=_OPTIONAL)
    if fields.text("name") != path.stem:
        raise fields.wrong("name", f"must be the file's name, '{path.stem}'")
    super_weights = tuple(_super_weight(path.name, entry) for entry in fields.items("super_weights"))
    if len({weight.coordinates for weight in super_weights}) < len(super_weights):
        raise fields.wrong("super_weights", "lists the same coordinates twice")
    return Recipe(
        name=fields.text("name"),
        hub_id=fields.text("hub_id", "") or None,
        aliases=fields.texts("aliases"),
        package=_package(path.name, values["package"]) if "package" in values else None,
        super_weights=super_weights,
        cancels_at=tuple(fields.coordinates("cancels_at", entry) for entry in fields.items("cancels_at")),
        notes=fields.text("notes", ""),
        license=fields.text("license", "") or None,
    )


def _check_plain(text: str) -> None:
    """Raises ValueError for deep nesting and for aliases: with them a few lines could expand to gigabytes."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("aliases (*name) are not allowed in recipes")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")


def _package(file: str, values: Any) -> RecipePackage:
    fields = Fields(file, "package.", values, required={"module", "files", "pypi"})
    if not fields.text("module").isidentifier():  # locating a submodule would import the package
        raise fields.wrong("module", "must be the name of a top-level package")
    name = fields.text("files")
    if name == ".." or name != PureWindowsPath(name).name:  # knows "/" and "\\" and drives
        raise fields.wrong("files", "must be a file name pattern, without folders")
    return RecipePackage(fields.text("module"), fields.text("files"), fields.text("pypi"))


def _super_weight(file: str, values: Any) -> SuperWeight:
    fields = Fields(file, "super_weights.", values, required={"at", "source"}, optional={"disputed", "perplexity"})
    sources = fields.texts("source")
    if not sources or not set(sources) <= SOURCES.keys():
        raise fields.wrong("source", f"must be a list of at least one of {', '.join(SOURCES)}")
    ratios = None
    if "perplexity" in values:
        measured = Fields(file, "super_weights.perplexity.", values["perplexity"], required={"alone", "together"})
        ratios = PerplexityRatios(measured.positive("alone"), measured.positive("together"))
    return SuperWeight(fields.coordinates("at", values["at"]), sources, fields.text("disputed", "") or None, ratios)
