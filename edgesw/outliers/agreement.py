"""RecipeAgreement: the super weights that a recipe names, compared with those that detection finds in the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from edgesw.decoder.spec import DecoderSpec
from edgesw.outliers.results import SuperOutliers
from edgesw.recipes.coordinates import Coordinates
from edgesw.recipes.recipes import Recipe
from edgesw.system.sizes import counted


@dataclass(frozen=True)
class RecipeAgreement:
    """The coordinates (layer, row, column) of recipe and detection, by who names them. Each is in one of the fields."""

    recipe: str
    """The recipe's name."""
    agreed: tuple[Coordinates, ...]
    """Named by both."""
    only_recipe: tuple[Coordinates, ...] = ()
    """Named by the recipe and not detected."""
    only_detected: tuple[Coordinates, ...] = ()
    """Detected and not named by the recipe."""
    disputed: tuple[Coordinates, ...] = ()
    """Not detected, and disputed by the recipe itself, so that they do not contradict it."""
    outside: tuple[Coordinates, ...] = ()
    """Named by the recipe and outside the model's matrices: it is not the recipe's model."""

    @property
    def contradicts(self) -> bool:
        """Whether recipe and detection name different scalars."""
        return bool(self.only_recipe or self.only_detected or self.outside)

    def summary(self) -> str:
        """One line for people."""
        known = len(self.agreed) + len(self.only_recipe) + len(self.outside)
        words = f"Recipe {self.recipe}: {len(self.agreed)} of {counted(known, 'super weight')} found by detection"
        if self.only_detected:
            words += f", {len(self.only_detected)} more detected"
        if self.disputed:
            words += f", disputed and not found: {listed(self.disputed)}"
        return words + "."

    def warning(self) -> str | None:
        """One line with both sets of coordinates where they differ, else None."""
        if not self.contradicts:
            return None
        claimed, found = (*self.agreed, *self.only_recipe, *self.outside), (*self.agreed, *self.only_detected)
        words = (
            f"recipe {self.recipe} and detection disagree: the recipe has {listed(claimed)}, "
            f"detection found {listed(found)}."
        )
        if self.outside:
            words += f" The model has no place {listed(self.outside)}: is it the model that the recipe is for?"
        return words

    def to_dict(self) -> dict[str, Any]:
        """The fields as lists, and `contradicts`."""
        values = {key: [list(at) for at in value] for key, value in asdict(self).items() if key != "recipe"}
        return {"recipe": self.recipe, "contradicts": self.contradicts, **values}


def compare(recipe: Recipe | None, found: SuperOutliers, spec: DecoderSpec) -> RecipeAgreement | None:
    """Compares a recipe's super weights with those that were found; None without a recipe that names any."""
    if recipe is None or not recipe.super_weights:
        return None
    detected = {weight.coordinates for weight in found.super_weights}
    missed = [weight for weight in recipe.super_weights if weight.coordinates not in detected]
    inside = [weight for weight in missed if _is_inside(weight.coordinates, spec)]
    known = {weight.coordinates for weight in recipe.super_weights}
    return RecipeAgreement(
        recipe.name,
        agreed=_sorted(detected & known),
        only_recipe=_sorted(weight.coordinates for weight in inside if weight.disputed is None),
        only_detected=_sorted(detected - known),
        disputed=_sorted(weight.coordinates for weight in inside if weight.disputed is not None),
        outside=_sorted(weight.coordinates for weight in missed if weight not in inside),
    )


def listed(coordinates: Iterable[Coordinates]) -> str:
    """`(1, 2, 3), (4, 5, 6)`, or `none`."""
    return ", ".join(map(str, coordinates)) or "none"


def _sorted(coordinates: Iterable[Coordinates]) -> tuple[Coordinates, ...]:
    return tuple(sorted(coordinates))


def _is_inside(coordinates: Coordinates, spec: DecoderSpec) -> bool:
    layer, row, column = coordinates
    return layer < spec.layers and row < spec.hidden_size and column < spec.intermediate_size
