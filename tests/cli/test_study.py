"""`edgesw study` as a user meets it: what is printed, what is written, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.image
import pytest
from hostile_tokenizers import TOKENIZERS, spoil
from tiny import SUPER_WEIGHT, assert_one_line, edgesw, save_llama, unchanged

from edgesw.cli.study import EXPERIMENTS
from edgesw.study import plots, study

SMALL = ("--windows", 2, "--tokens", 32)


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_prints_a_table_and_writes_json_and_a_plot(experiment: str, tiny_llama: Path, tmp_path: Path) -> None:
    """All that the command is for. The picture must be one that opens, with something drawn in it."""
    folder = tmp_path / "new" / "study"
    ran = edgesw("study", tiny_llama, "--experiment", experiment, *SMALL, "-o", folder)
    assert ran.code == 0, ran.err
    assert sorted(path.name for path in folder.iterdir()) == [f"{experiment}.json", f"{experiment}.png"]
    assert ran.err == f"Wrote {folder / experiment}.json, {folder / experiment}.png\n"
    values = json.loads((folder / f"{experiment}.json").read_text())
    assert values["experiment"] == experiment and values["model"] == "Tiny"
    assert values["super_weights"] == [list(SUPER_WEIGHT)]
    assert (values["windows"], values["tokens_per_window"]) == (2, 32)
    for row in values["rows"]:
        assert row["condition"] in ran.out
    for note in values["notes"]:
        assert note in ran.out
    picture = matplotlib.image.imread(folder / f"{experiment}.png")
    assert picture.shape[1] > 600 and 0.6 < picture[..., :3].mean() < 0.999


def test_json_is_the_file_and_a_second_run_gives_the_same(tiny_llama: Path, tmp_path: Path) -> None:
    """For scripts: nothing but JSON on stdout; and results that can be compared because they do not drift."""
    contents = []
    for _ in range(2):
        ran = edgesw("study", tiny_llama, "--experiment", "scale", *SMALL, "--json", "-o", tmp_path)
        assert ran.code == 0, ran.err
        assert json.loads(ran.out) == json.loads((tmp_path / "scale.json").read_text())
        contents.append([(tmp_path / name).read_bytes() for name in ("scale.json", "scale.png")])
    assert contents[0] == contents[1]


def test_all_runs_each_and_measures_the_float_model_once(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One experiment after the other, in one call; without -o the folder is named after the model."""
    monkeypatch.chdir(tmp_path)
    ran = edgesw("study", tiny_llama, "--experiment", "all", *SMALL, "--json")
    assert ran.code == 0, ran.err
    assert [result["experiment"] for result in json.loads(ran.out)] == list(EXPERIMENTS)
    assert len(list((tmp_path / "study-Tiny").iterdir())) == 2 * len(EXPERIMENTS)


def test_the_command_offers_what_the_library_has() -> None:
    """The names stand twice, so that help need not import torch; an experiment without a picture would fail last."""
    assert tuple(study.EXPERIMENTS) == EXPERIMENTS == tuple(plots.DRAWN)


def test_a_model_without_super_weights_is_told_so(tmp_path: Path) -> None:
    """Nothing is wrong with such a model, and nothing is to be measured: one line, no folder."""
    save_llama(tmp_path / "Ordinary", steps=0)
    with unchanged(tmp_path):
        ran = edgesw("study", tmp_path / "Ordinary", "--experiment", "prune", "-o", tmp_path / "out")
        assert_one_line(ran, 1, "no super weights", "try another model")


def test_wrong_input_is_one_line(tiny_llama: Path, tmp_path: Path) -> None:
    """Before minutes of work, not after."""
    file = tmp_path / "file"
    file.write_text("x")
    with unchanged(tmp_path):
        taken = edgesw("study", tiny_llama, "--experiment", "prune", "-o", file)
        assert_one_line(taken, 2, str(file), "choose another -o")
        below = edgesw("study", tiny_llama, "--experiment", "prune", "-o", file / "below")
        assert_one_line(below, 2, str(file), "choose another -o")
        missing = edgesw("study", tiny_llama, "--experiment", "prune", "--text", tmp_path / "none", "-o", tmp_path)
        assert_one_line(missing, 2, "--text", "wikitext2")
        assert_one_line(edgesw("study", tiny_llama, "--experiment", "cut"), 2, "'cut'", "edgesw study --help")
        assert_one_line(edgesw("study", tiny_llama), 2, "--experiment")


def test_interrupted_while_drawing_leaves_nothing_behind(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A JSON without its picture would look like a finished run."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(plots.DRAWN, "prune", interrupt)
    with unchanged(tmp_path):
        ran = edgesw("study", tiny_llama, "--experiment", "prune", *SMALL, "-o", tmp_path / "out")
        assert ran.code == 130 and ran.out == ""
        assert ran.err.strip() == "Error: interrupted; nothing was left behind."


@pytest.mark.slow
def test_what_was_measured_is_printed_when_the_tokenizer_breaks_off(tiny_llama: Path, tmp_path: Path) -> None:
    """The third experiment is the first to decode tokens: two have been measured by then."""
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    spoil(model, tokenizer=TOKENIZERS["decoder"])
    ran = edgesw("study", model, "--experiment", "all", *SMALL, "-o", tmp_path / "study")
    assert ran.code == 1 and "tokenizer.json is damaged (decoding tokens" in ran.err
    assert EXPERIMENTS[2] == "stopwords" and ran.out.count("perplexity") >= 2
    assert sorted(path.stem for path in (tmp_path / "study").glob("*.json")) == sorted(EXPERIMENTS[:2])
