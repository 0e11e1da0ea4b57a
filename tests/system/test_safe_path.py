"""Processes that import nothing from the current folder: it may be the folder of a downloaded model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import edgesw as library

ROOT = Path(library.__file__).parents[1]
# Modules that Python, its libraries or ours import early, and names that may be looked for where none is installed.
NAMES = ("json", "struct", "re", "enum", "signal", "logging", "numpy", "torch", "yaml", "click", "jinja2", "tokenizers",
         "multiprocessing", "concurrent", "subprocess", "pickle", "typing", "sitecustomize", "readline", "onnx", "cuda",
         "onnxruntime", "coremltools", "transformers", "matplotlib", "numba")  # fmt: skip
# The command line as the installed script starts it: with its own folder, not the current one, first on the path.
PROGRAM = "import sys; del sys.path[0]; from edgesw.cli import main; main(sys.argv[1:])"


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A folder with a module of every name, which leaves a file when it is imported."""
    folder = tmp_path / "trapped"
    folder.mkdir()
    for name in NAMES:
        trap = f"open({str(tmp_path / 'sprung')!r}, 'a').write({name!r} + '\\n')\nraise SystemExit(7)\n"
        (folder / f"{name}.py").write_text(trap)
    return folder


def run(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip


def test_the_trap_springs(trapped: Path) -> None:
    """A trap that nothing can spring would prove nothing."""
    subprocess.run([sys.executable, "-m", "json"], cwd=trapped, capture_output=True, check=False)
    assert (trapped.parent / "sprung").read_text() == "json\n"


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("convert", "MODEL", "--target", "onnx", "-o", "out"), marks=slow),
        pytest.param(
            ("convert", "MODEL", "--target", "onnx", "-o", "out", "--workers", 2, "--calibrate", "none"), marks=slow
        ),
        ("bench", "PACKAGE", "--target", "onnx", "--prompts", 4, "--tokens", 1),
        pytest.param(("compare", "PACKAGE", "--against", "MODEL", "--windows", 1, "--plot", "plot.png"), marks=slow),
        pytest.param(("validate", "PACKAGE", "--against", "MODEL", "--windows", 1, "--tokens", 8), marks=slow),
        ("generate", "PACKAGE", "The", "--chat", "--max-tokens", 1),
        pytest.param(("inspect", "PACKAGE"), marks=slow),
        pytest.param(("doctor",), marks=slow),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_no_code_in_the_current_folder_is_run(
    words: tuple[object, ...], trapped: Path, tiny_llama: Path, tiny_package: Path
) -> None:
    """A model's folder with a `json.py` in it would do with the user's machine what it likes, as soon as a command was
    started there."""
    places = {"MODEL": tiny_llama, "PACKAGE": tiny_package}
    ran = run(trapped, *(places.get(str(word), word) for word in words))
    assert not (trapped.parent / "sprung").exists(), (trapped.parent / "sprung").read_text()
    assert ran.returncode in (0, 3), ran.stderr


def test_workers_of_a_program_in_that_folder_do_not_look_there_either(trapped: Path) -> None:
    """A program that uses edgesw as a library, started with `python -c`, has the current folder on its own path."""
    program = (
        "import sys; here = sys.path.pop(0)\n"
        "from edgesw.system.workers import worker_processes\nfrom edgesw.system.safe_path import safe_path\n"
        "sys.path.insert(0, here)\n"
        "with worker_processes(1) as pool: print(pool.submit(safe_path).result() == safe_path())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=trapped, env=environment, capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "True\n", ran.stderr
    assert not (trapped.parent / "sprung").exists(), (trapped.parent / "sprung").read_text()


def path_of(entries: Callable[[Path], list[str]], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from edgesw.system.safe_path import safe_path

    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", entries(folder))
    return safe_path()


def test_the_safe_path_has_no_name_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty part of PYTHONPATH, as `PYTHONPATH=$PYTHONPATH:x` makes it, means the current folder as well."""
    (tmp_path / "link").symlink_to(tmp_path)
    kept = path_of(lambda here: ["", ".", "lib", str(here), str(here / "link"), "/x"], tmp_path, monkeypatch)
    assert kept == ["/x"]


def test_edgesw_is_found_where_its_own_folder_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who works on edgesw starts it in its folder."""
    assert path_of(lambda here: ["", str(here)], ROOT, monkeypatch) == [str(ROOT)]
