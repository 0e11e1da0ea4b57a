"""A recipe is compared with detection: agreement is confirmed, and a contradiction is reported, never hidden."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny import SUPER_VALUE, SUPER_WEIGHT, edgesw

from edgesw.checkpoint import source
from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.package.manifest import read_manifest
from edgesw.recipes import recipes
from edgesw.recipes.recipes import all_recipes

OTHER = (1, 3, 4)  # an ordinary scalar of the tiny model
Index = Callable[[str], None]


@pytest.fixture
def index(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    """An index with one recipe, `planted`, with these super weights (YAML), and a hub with the tiny model for it."""
    folder = tmp_path / "recipes"
    folder.mkdir()

    def fill(super_weights: str) -> None:
        text = f"name: planted\nhub_id: some/planted\nsuper_weights: {super_weights}\n"
        (folder / "planted.yaml").write_text(text)
        all_recipes.cache_clear()

    monkeypatch.setattr(recipes, "_recipes_folder", lambda: folder)
    monkeypatch.setattr(source, "download", lambda hub_id, revision, instead: (tiny_llama, "abc"))
    yield fill
    all_recipes.cache_clear()


def entry(at: tuple[int, int, int], disputed: str = "") -> str:
    more = f', disputed: "{disputed}"' if disputed else ""
    return f"{{at: {list(at)}, source: [table]{more}}}"


def convert(tmp_path: Path, *more: str) -> tuple[str, str, Path]:
    """(stdout, stderr, package)"""
    ran = edgesw("convert", "planted", "--target", "onnx", "--calibrate", "none", "-o", tmp_path / "x", *more)
    assert ran.code == 0, ran.err
    return ran.out, ran.err, tmp_path / "x"


def test_agreement_is_reported(index: Index, tmp_path: Path) -> None:
    """Users of a recipe want to know that it is right for their copy of the model."""
    index(f"[{entry(SUPER_WEIGHT)}]")
    said = "Recipe planted: 1 of 1 super weight found by detection."
    out, err, package = convert(tmp_path)
    assert said in out.splitlines() and err == ""
    assert said in (package / "README.md").read_text()
    agreement = read_manifest(package).agreement
    assert agreement is not None and not agreement.contradicts
    assert agreement.agreed == (SUPER_WEIGHT,)
    ran = edgesw("detect", "planted")
    assert said in ran.out.splitlines() and ran.err == ""


def test_a_contradiction_is_a_warning_that_names_both(index: Index, tiny_llama: Path, tmp_path: Path) -> None:
    """A wrong index, or another model of this name: without the warning the user ships a model that nobody checked.

    Both scalars are held out: one too many costs bytes, one too few may cost the model.
    """
    index(f"[{entry(OTHER)}]")
    both = f"planted and detection disagree: the recipe has {OTHER}, detection found {SUPER_WEIGHT}."
    out, err, package = convert(tmp_path)
    assert err == f"Warning: recipe {both}\n"
    assert "0 of 1 super weight found by detection, 1 more detected" in out
    manifest = read_manifest(package)
    assert manifest.agreement is not None and manifest.agreement.contradicts
    assert manifest.agreement.warning() == f"recipe {both}"
    value = float(open_checkpoint(str(tiny_llama)).tensor("layers.1.down_proj")[OTHER[1:]])
    held = {w.coordinates: w.value for w in manifest.super_weights}
    assert held == {SUPER_WEIGHT: SUPER_VALUE, OTHER: value}
    assert both in (package / "README.md").read_text()


def test_a_contradiction_leaves_json_readable(index: Index, tmp_path: Path) -> None:
    """The warning is for people; the output for scripts must stay JSON, and say the same."""
    index(f"[{entry(OTHER)}, {entry(SUPER_WEIGHT)}]")
    ran = edgesw("detect", "planted", "--json")
    assert ran.code == 0 and ran.err.startswith("Warning: recipe planted and detection disagree")
    told = json.loads(ran.out)["agreement"]
    out, err, package = convert(tmp_path, "--json")
    assert err == ran.err
    assert told == json.loads(out)["agreement"] == json.loads((package / "manifest.json").read_text())["agreement"]
    assert (told["agreed"], told["only_recipe"]) == ([list(SUPER_WEIGHT)], [list(OTHER)])
    assert told["only_detected"] == told["disputed"] == told["outside"] == []


@pytest.mark.parametrize("outside", [(2, 0, 0), (0, 64, 0), (0, 0, 160)])
def test_coordinates_outside_the_model_are_reported(
    outside: tuple[int, int, int], index: Index, tmp_path: Path
) -> None:
    """A recipe for a larger model: held out, the scalar would end in an IndexError."""
    index(f"[{entry(SUPER_WEIGHT)}, {entry(outside)}]")
    _, err, package = convert(tmp_path)
    assert err.count("\n") == 1 and f"The model has no place {outside}" in err
    assert [w.coordinates for w in read_manifest(package).super_weights] == [SUPER_WEIGHT]


def test_a_disputed_coordinate_is_not_a_contradiction(index: Index, tmp_path: Path) -> None:
    """Of two readings of one coordinate at most one is right: a warning would come with every conversion."""
    index(f"[{entry(SUPER_WEIGHT)}, {entry(OTHER, 'others have layer 0')}]")
    out, err, package = convert(tmp_path)
    assert err == ""
    assert f"1 of 1 super weight found by detection, disputed and not found: {OTHER}." in out
    assert len(read_manifest(package).super_weights) == 1


def test_a_disputed_coordinate_that_is_detected_counts(index: Index) -> None:
    """That settles the dispute, and must be shown."""
    index(f"[{entry(SUPER_WEIGHT, 'others have layer 1')}]")
    assert "1 of 1 super weight found" in edgesw("detect", "planted").out


def test_without_hold_out_or_known_super_weights_nothing_is_compared(index: Index, tmp_path: Path) -> None:
    """ "0 of 0 found" would mean nothing, and without detection there is nothing to compare with."""
    index("[]")
    assert "Recipe" not in edgesw("detect", "planted").out
    assert json.loads(edgesw("detect", "planted", "--json").out)["agreement"] is None
    index(f"[{entry(OTHER)}]")
    out, err, package = convert(tmp_path, "--no-hold-out")
    assert "found by detection" not in out and err == ""
    assert read_manifest(package).agreement is None
