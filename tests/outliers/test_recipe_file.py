"""`edgesw detect --write-recipe`: the result as a recipe that can be read, shared and checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import SUPER_WEIGHT, assert_one_line, edgesw, unchanged

import edgesw as library
from edgesw.outliers.detect import PROMPT
from edgesw.outliers.recipe_file import recipe_yaml
from edgesw.recipes import recipes
from edgesw.recipes.recipes import Recipe, all_recipes, read_recipes


def test_the_recipe_has_what_was_detected(tiny_llama: Path, tmp_path: Path) -> None:
    """A coordinate lost or swapped on the way would send the next reader to an ordinary scalar."""
    ran = edgesw("detect", tiny_llama, "--write-recipe", tmp_path / "mine.yaml")
    assert ran.code == 0, ran.err
    assert ran.err == f"Wrote {tmp_path / 'mine.yaml'}\n"
    (recipe,) = read_recipes(tmp_path)
    assert (recipe.name, recipe.hub_id, recipe.license) == ("mine", None, None)
    (weight,) = recipe.super_weights
    assert weight[:2] == (SUPER_WEIGHT, ("measured",))
    assert weight.perplexity and weight.perplexity.alone == weight.perplexity.together > 1
    assert f"edgesw {library.__version__}" in recipe.notes and PROMPT in recipe.notes
    assert str(tiny_llama) not in (tmp_path / "mine.yaml").read_text(), "where it lay is nobody's business"


def test_a_recipe_written_without_a_hub_id_says_so_when_its_model_is_wanted(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model from a folder has no public source: opening it by name must not end in a traceback."""
    edgesw("detect", tiny_llama, "--write-recipe", tmp_path / "mine.yaml")
    monkeypatch.setattr(recipes, "_recipes_folder", lambda: tmp_path)
    all_recipes.cache_clear()
    try:
        assert_one_line(edgesw("detect", "mine"), 2, "recipe 'mine' does not state where its model is")
        assert "mine" in edgesw("recipes", "list").out
        assert edgesw("recipes", "show", "mine").code == 0
    finally:
        all_recipes.cache_clear()


def test_a_model_without_super_weights_gets_a_recipe_that_says_so(tmp_path: Path) -> None:
    """ "None" is a finding too."""
    import tiny

    tiny.save_llama(tmp_path / "plain", steps=0)
    (tmp_path / "index").mkdir()
    ran = edgesw("detect", tmp_path / "plain", "--write-recipe", tmp_path / "index" / "plain.yaml", "--json")
    assert ran.code == 0
    (recipe,) = read_recipes(tmp_path / "index")
    assert recipe.super_weights == () and recipe.notes.startswith("None detected by edgesw")


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.name)
def test_every_field_survives_writing_and_reading(recipe: Recipe, tmp_path: Path) -> None:
    """A dropped field loses knowledge: who disputes a coordinate, which scalar cancels the activation."""
    (tmp_path / f"{recipe.name}.yaml").write_text(recipe_yaml(recipe))
    assert read_recipes(tmp_path) == (recipe,)


def test_a_file_is_never_replaced_and_the_error_comes_before_the_work(tmp_path: Path) -> None:
    """It may contain notes. And after waiting for a model of 60 GB the user must not learn that the name was wrong: the
    model here does not exist, so the error shows which of the two was checked first."""
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    with unchanged(tmp_path):
        for path, said in (
            ("mine.yaml", "exists"),
            ("mine.json", "must end with .yaml"),
            (".yaml", "must end with .yaml"),
            ("no/mine.yaml", "does not exist"),
        ):
            assert_one_line(edgesw("detect", "nosuchmodel", "--write-recipe", tmp_path / path), 2, said)
