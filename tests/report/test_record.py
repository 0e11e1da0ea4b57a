"""`validate --record`: what is written into a package is what was measured, and nothing of other files."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny import Ran, assert_one_line
from tiny import edgesw as run

import edgesw.report.plots
import edgesw.study.write  # before a test has them import a writer that fails
from edgesw.errors import PackageError
from edgesw.files.checksums import sha256
from edgesw.package.manifest import MANIFEST, PackagedFile, read_manifest

ROOT = Path(edgesw.__file__).parents[1]


@pytest.fixture
def package(tiny_package: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_package, tmp_path / "package"))


def relist(package: Path, *, without: str = "") -> None:
    """Brings the manifest up to date with the files, less one of them."""
    manifest = read_manifest(package)
    files = {
        name: PackagedFile(sha256(package / name), (package / name).stat().st_size)
        for name in manifest.files
        if name != without
    }
    (package / MANIFEST).write_text(dataclasses.replace(manifest, files=files).to_json())


def recorded(package: Path, model: Path) -> Ran:
    return run("validate", package, "--against", model, "--target", "onnx", "--windows", 1, "--tokens", 16, "--record")


def linked(package: Path) -> None:
    secret = package.parent / "secret.txt"
    secret.write_text("TOP SECRET <!-- measured -->\n<!-- /measured -->\n")
    missing(package)
    (package / "README.md").symlink_to(secret)


def linked_within(package: Path) -> None:
    (package / "README.md").unlink()
    (package / "README.md").symlink_to("genai_config.json")
    relist(package)


def missing(package: Path) -> None:
    (package / "README.md").unlink()
    relist(package, without="README.md")


def pipe(package: Path) -> None:
    missing(package)
    os.mkfifo(package / "README.md")


def other_bytes(package: Path) -> None:
    (package / "README.md").write_bytes(b"\xff\xfe")
    relist(package)


def endless(package: Path) -> None:
    (package / "README.md").write_bytes(b"<!-- measured -->\n" * 100_000)
    relist(package)


@pytest.mark.parametrize("damage", [linked, linked_within, missing, pipe, other_bytes, endless])
def test_a_card_that_is_no_card_is_refused_before_anything_is_measured(
    damage: Callable[[Path], None], package: Path, tmp_path: Path
) -> None:
    """A link would bring a file of the user's into a package that is then pushed."""
    damage(package)
    before = sorted(path.name for path in package.iterdir())
    assert_one_line(recorded(package, tmp_path / "no model is looked for"), 1, str(package / "README.md"))
    assert sorted(path.name for path in package.iterdir()) == before
    assert "SECRET" not in (package / MANIFEST).read_text()


def test_a_card_of_many_beginnings_takes_no_time(package: Path, tiny_llama: Path) -> None:
    """Each beginning without an end was once searched for to the end of the file."""
    (package / "README.md").write_bytes(b"<!-- measured -->\n" * 50_000)
    relist(package)
    assert recorded(package, tiny_llama).code in (0, 3)


READ_ONLY = """
set -e
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
cd "$1"
shift
exec "$@"
"""


def in_read_only(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a folder that is mounted read-only, for root too."""
    program = [sys.executable, "-c", "from edgesw.cli import main; main()", *map(str, words)]
    command = ["unshare", "-Urm", "bash", "-c", READ_ONLY, "bash", str(folder), *program]
    if subprocess.run([*command[:6], str(folder), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system mounts nothing for its users")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize(
    "words",
    [
        ("validate", ".", "--against", "MODEL", "--record"),
        ("detect", "MODEL", "--plot", "plot.png"),
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (
                ("report", ".", "--against", "MODEL"),
                ("compare", ".", "--against", "MODEL", "--plot", "plot.png"),
                ("detect", "MODEL", "--write-recipe", "new.yaml"),
                ("study", "MODEL", "--experiment", "prune"),
                ("convert", "MODEL", "--target", "onnx"),
            )
        ),
    ],
    ids=" ".join,
)
def test_a_place_that_is_read_only_is_told_before_the_work(
    words: tuple[str, ...], package: Path, tmp_path: Path
) -> None:
    """An hour of measuring was lost at the last step. Here the model is not even there: it is not looked for."""
    ran = in_read_only(package, *(str(tmp_path / "none") if word == "MODEL" else word for word in words))
    assert ran.returncode == 2, ran.stderr
    assert "cannot be written to (Read-only file system)" in ran.stderr
    assert ran.stderr.count("\n") == 1 and ran.stdout == ""


def full_disk(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("words", "writer", "said"),
    [
        pytest.param(
            ("validate", "PACKAGE", "--record"), "edgesw.report.measured.staged", "top-1", marks=pytest.mark.slow
        ),
        (("validate", "PACKAGE", "--record", "--json"), "edgesw.report.measured.staged", '"perplexity"'),
        (("report", "PACKAGE", "-o", "FOLDER/r.html"), "edgesw.files.atomic_write.staged", "top-1"),
        (("compare", "PACKAGE", "--no-speed", "--plot", "FOLDER/p.png"), "edgesw.report.plots.staged", "top-1"),
        (("detect", "MODEL", "--plot", "FOLDER/p.png"), "edgesw.report.plots.staged", "Super weights"),
        pytest.param(
            ("study", "MODEL", "--experiment", "prune", "-o", "FOLDER/s"),
            "edgesw.study.write.staged",
            "perplexity",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_was_measured_is_printed_when_it_cannot_be_written(
    words: tuple[str, ...], writer: str, said: str, package: Path, tiny_llama: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A disk may fill up during the work, which nobody can tell before."""
    monkeypatch.setattr(writer, full_disk)
    places = {"PACKAGE": str(package), "MODEL": str(tiny_llama), "FOLDER": str(tmp_path)}
    given = [places.get(word, word.replace("FOLDER", str(tmp_path))) for word in words]
    more = ["--against", tiny_llama] if "PACKAGE" in words else []
    ran = run(*given, *more, "--windows", 1) if words[0] != "detect" else run(*given, "--fast")
    assert ran.code == 1 and "the disk is full" in ran.err and "-o" not in ran.err
    assert said in ran.out
    if "--json" in words:
        json.loads(ran.out)


@pytest.mark.slow
def test_a_report_that_cannot_detect_prints_what_was_measured(
    package: Path, tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detection comes after the measuring, and a tokenizer that takes the text may break on its prompt."""

    def refuse(*_: object) -> None:
        raise PackageError("tokenizer.json is damaged: convert again.")

    monkeypatch.setattr("edgesw.outliers.detect.find_outliers", refuse)
    ran = run("report", package, "--against", tiny_llama, "--windows", 1, "-o", tmp_path / "r.html")
    assert (ran.code, ran.err) == (1, "Error: tokenizer.json is damaged: convert again.\n")
    assert "top-1" in ran.out and not (tmp_path / "r.html").exists()
