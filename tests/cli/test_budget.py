"""--bits 3.5, --size and --embedding-bits: from the command line to packages that run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import assert_one_line, edgesw

from edgesw.package.manifest import read_manifest

BOTH = ("--target", "coreml", "--target", "onnx")


@pytest.fixture(scope="module")
def mixed(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of 4.5 bits, and what converting said on the way."""
    folder = tmp_path_factory.mktemp("mixed") / "package"
    ran = edgesw("convert", tiny_llama, *BOTH, "--bits", "4.5", "--embedding-bits", "4", "-o", folder, "--json")
    assert ran.code == 0, ran
    (folder.parent / "out.json").write_text(ran.out)
    (folder.parent / "err.txt").write_text(ran.err)
    return folder


def test_a_mixed_package_runs_as_it_was_compressed(mixed: Path, tiny_llama: Path) -> None:
    """Widths that differ from matrix to matrix must each be unpacked by their own: one taken for another is noise."""
    manifest = read_manifest(mixed)
    for target, kind in (("coreml", "palette"), ("onnx", "block")):
        schemes = manifest.models[target].matrices
        widths = {int(scheme.split()[1]) for scheme, names in schemes.items() if names != ["embed_tokens"]}
        assert len(widths) > 1 and all(scheme.startswith(kind) for scheme in schemes if "." in schemes[scheme][0])
    ran = edgesw("validate", mixed, "--against", tiny_llama, "--windows", 2, "--tokens", 64, "--json")
    assert ran.code in (0, 3), ran
    told = json.loads(ran.out)["targets"]
    assert told.keys() == {"coreml", "onnx"}
    for target, figures in told.items():
        assert figures["kl_divergence"] < 0.5, f"{target}: no noise"


def test_the_plan_is_told_before_the_work_and_in_full_after(mixed: Path) -> None:
    """Who gets which width is what a mixed package is: a figure of 4.5 bits alone could not be reproduced."""
    said, told = (mixed.parent / "err.txt").read_text(), json.loads((mixed.parent / "out.json").read_text())
    for words in ("for coreml", "for onnx", "down_proj", "code bits", "stored bits per weight", "embed_tokens"):
        assert words in said
    manifest = read_manifest(mixed)
    for target, model in manifest.models.items():
        assert told["models"][target]["matrices"] == model.matrices
        assert told["models"][target]["stored_bits"] == model.stored_bits
    for target in ("coreml", "onnx"):
        names = [name for each in told["models"][target]["matrices"].values() for name in each]
        assert len(names) == len(set(names)) == 2 * 7 + 1
        assert "block 4 bits, blocks of 32, zero points" in told["models"][target]["matrices"], (
            "the embedding, as asked"
        )
    card = (mixed / "README.md").read_text()
    assert "4.5 bits" in card and "head have 4 bits" in card


def test_a_dry_run_tells_what_is_yet_to_be_measured(tiny_llama: Path) -> None:
    """Without reading the model nobody knows who gets which width: the table may not claim to."""
    ran = edgesw("convert", tiny_llama, "--target", "coreml", "--bits", "3.5", "--dry-run")
    assert ran.code == 0 and ran.err == ""
    assert (
        "palette 2, 3, 4, 6 or 8 bits, by sensitivity" in ran.out and "The conversion measures which matrix" in ran.out
    )
    told = json.loads(edgesw("convert", tiny_llama, *BOTH, "--bits", "3.5", "--dry-run", "--json").out)
    assert told["to_be_measured"] is True and 3.4 < told["code_bits"]["coreml"] <= 3.5
    assert json.loads(edgesw("convert", tiny_llama, *BOTH, "--dry-run", "--json").out)["to_be_measured"] is False


@pytest.mark.parametrize(("size", "bytes_"), [("90kB", 90_000), ("0.09 MB", 90_000), ("90KiB", 92_160)])
def test_a_size_is_met_from_below(size: str, bytes_: int, tiny_llama: Path) -> None:
    """Sizes in the units that people and systems use."""
    told = json.loads(edgesw("convert", tiny_llama, "--target", "coreml", "--size", size, "--dry-run", "--json").out)
    stored = sum(row["stored_bytes"] for row in told["targets"]["coreml"])
    assert 0.9 * bytes_ < stored <= bytes_, "its matrices are so few that one step is several percent"


def test_a_package_of_a_size_is_named_after_it(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--size", "90kB")
    assert ran.code == 0, ran
    (folder,) = tmp_path.iterdir()
    assert folder.name.endswith("-0.09MB")
    assert read_manifest(folder).settings.size == 90_000
    assert "90.0 kB" in (folder / "README.md").read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size", "1kB"], "too small"),
        (["--size", "1TB"], "no size"),
        (["--size", "lots"], "no size"),
        (["--size", "1GB"], "more than this model can use"),
        (["--size", "90kB", "--bits", "4"], "give one of them"),
        (["--bits", "1.5"], "1.5"),
        (["--bits", "nan"], "nan"),
        (["--bits", "3.5", "--scheme", "block"], "not possible"),
        (["--embedding-bits", "3"], "4"),
    ],
)
def test_what_cannot_be_met_is_refused_in_one_line(options: list[str], says: str, tiny_llama: Path) -> None:
    assert_one_line(edgesw("convert", tiny_llama, "--target", "coreml", *options), 2, says)
