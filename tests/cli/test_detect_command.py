"""`edgesw detect`: what it prints, in words, as JSON and as a plot."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tiny import SUPER_WEIGHT, assert_one_line, edgesw, unchanged

from edgesw.outliers.results import SuperOutliers


def test_says_how_far_the_super_weight_is_from_the_null(tiny_llama: Path) -> None:
    """The figures that confirm a super weight by its effect are printed with its coordinates."""
    ran = edgesw("detect", tiny_llama)
    assert ran.code == 0 and ran.err == ""
    (row,) = (line.split() for line in ran.out.splitlines() if line.split()[:3] == [str(n) for n in SUPER_WEIGHT])
    alone, joint, null, margin = (float(cell.replace(",", "")) for cell in row[6:])
    assert alone == joint and margin == pytest.approx(alone / null, rel=0.2) and margin > 10
    assert "Not confirmed" not in ran.out


def test_says_that_the_set_depends_on_the_first_token(tiny_llama: Path) -> None:
    """The tiny model's neuron fires only for "A": a user who calibrates on other texts must know."""
    out = edgesw("detect", tiny_llama).out
    assert "Depends on the first token" in out and str(list(SUPER_WEIGHT)) in out
    found = json.loads(edgesw("detect", tiny_llama, "--json").out)
    assert found["depends_on_first_token"] is True
    assert [each["prompt"] for each in found["first_token"]] == ["without BOS", "without its first token"]


def test_fast_says_that_nothing_was_confirmed(tiny_llama: Path) -> None:
    """A guess must not read like a result."""
    ran = edgesw("detect", tiny_llama, "--fast")
    assert "Not confirmed (--fast)" in ran.out and "KL" not in ran.out
    found = json.loads(edgesw("detect", tiny_llama, "--fast", "--json").out)
    assert found["confirmed"] is False and found["super_weights"][0]["effect"] is None


def test_tables_fit_100_columns(tiny_llama: Path) -> None:
    """Wider tables wrap in a terminal and cannot be read."""
    lines = edgesw("detect", tiny_llama).out.splitlines()
    assert max(len(line) for line in lines if str(tiny_llama) not in line) <= 100


def test_json_reads_back(tiny_llama: Path) -> None:
    values = json.loads(edgesw("detect", tiny_llama, "--json").out)
    found = SuperOutliers.from_dict(values)
    assert [weight.coordinates for weight in found.super_weights] == [SUPER_WEIGHT]
    assert found.to_dict().items() <= values.items()


@pytest.mark.parametrize("arguments", [(), ("--fast", "--json")])
def test_plot_is_a_picture(arguments: tuple[str, ...], tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "peaks.PNG"
    ran = edgesw("detect", tiny_llama, "--plot", path, *arguments)
    assert ran.code == 0, ran.err
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG") and struct.unpack(">II", content[16:24]) == (1500, 570)
    assert [file.name for file in tmp_path.iterdir()] == ["peaks.PNG"]
    assert "Wrote" not in ran.out


def test_plot_names_the_super_weight_and_is_the_same_each_time(tiny_llama: Path, tmp_path: Path) -> None:
    """A plot in a repository must not change when nothing has."""
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    for path in (first, second):
        assert edgesw("detect", tiny_llama, "--plot", path).code == 0
    assert first.read_bytes() == second.read_bytes()
    ElementTree.parse(first)
    assert str(list(SUPER_WEIGHT[1:])) in first.read_text(encoding="utf-8")


def test_plot_replaces_what_was_there(tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "peaks.svg"
    path.write_text("old")
    assert edgesw("detect", tiny_llama, "--plot", path).code == 0
    assert path.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize(
    ("name", "said"),
    [("peaks.pdf", ".png or .svg"), ("peaks", ".png or .svg"), ("none/peaks.png", "folder"), ("a.png", "folder")],
)
def test_a_plot_that_cannot_be_written_is_refused_before_any_work(name: str, said: str, tmp_path: Path) -> None:
    """The model is not even looked for: half an hour of detection must not end in this."""
    (tmp_path / "a.png").mkdir()
    with unchanged(tmp_path):
        assert_one_line(edgesw("detect", tmp_path / "no-model", "--plot", tmp_path / name), 2, "--plot", said)


def test_several_models_are_one_table_and_one_that_fails_is_a_line(tiny_llama: Path, tmp_path: Path) -> None:
    """A night's batch must not end at the first folder that is no model, nor pass for complete."""
    ran = edgesw("detect", tiny_llama, tmp_path / "none", tiny_llama, "--fast", "--json")
    assert ran.code == 1 and ran.err.count("\n") == 1 and ran.err.startswith("Error: ")
    first, failed, second = json.loads(ran.out)
    assert first == second == json.loads(edgesw("detect", tiny_llama, "--fast", "--json").out)
    assert failed["model"] == str(tmp_path / "none") and failed["error"] in ran.err
    words = edgesw("detect", tiny_llama, tiny_llama, "--fast")
    assert words.code == 0 and words.out == "\n".join([edgesw("detect", tiny_llama, "--fast").out] * 2)
    assert_one_line(edgesw("detect", tiny_llama, tiny_llama, "--plot", tmp_path / "p.png"), 2, "are for one model")


def test_says_in_words_what_a_model_is_without_its_super_weight(tiny_llama: Path) -> None:
    """A KL divergence tells few people anything; perplexity times so much tells most."""
    values = json.loads(edgesw("detect", tiny_llama, "--json").out)
    (weight,) = values["super_weights"]
    ratio = weight["text"][0]["alone"]["perplexity"]
    assert weight["kind"] == "super weight" and ratio > 1
    assert f"{SUPER_WEIGHT}: without it: perplexity × " in edgesw("detect", tiny_llama).out
