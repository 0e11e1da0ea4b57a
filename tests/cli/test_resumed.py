"""A conversion that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny import edgesw, save_llama, tree

from edgesw.package.publish import KEPT

TARGETS = ("--target", "onnx", "--target", "coreml", "--scheme", "block")
PLAIN, WORKERS = ("--calibrate", "none"), ("--workers", "2")


@pytest.fixture(scope="module")
def model(make_once: Callable[..., Path]) -> Path:
    """Of several layers, so that there is something before and after the moment of a kill."""
    return make_once("resumed", lambda folder: save_llama(folder, steps=0, num_hidden_layers=3))


@pytest.fixture(scope="module")
def whole(model: Path, make_once: Callable[..., Path]) -> Path:
    """The package that an uninterrupted run makes."""

    def make(folder: Path) -> None:
        ran = edgesw("convert", model, *TARGETS, "-o", folder)
        assert ran.code == 0, ran.err

    return make_once("resumed-whole", make)


def kill_with(count: int, model: Path, output: Path, *more: str) -> None:
    """Convert in a process that kills itself once this many matrices are cached."""
    program = f"""
import os, signal, edgesw
from pathlib import Path
from edgesw.cli import main
convert = edgesw.convert
def watched(*arguments, progress, **named):
    def watch(*said):
        progress(*said)
        cached = Path({str(output.parent)!r}).glob(".{output.name}.*.partial/{KEPT}/*/*.npz")
        if len(list(cached)) >= {count}:
            os.kill(os.getpid(), signal.SIGKILL)
    return convert(*arguments, progress=watch, **named)
edgesw.convert = watched
main({["convert", str(model), *TARGETS, *more, "-o", str(output)]})
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == -signal.SIGKILL, ran


@pytest.fixture(scope="module")
def killed(model: Path, make_once: Callable[..., Path]) -> Path:
    """A folder with nothing in it but what a conversion to `package` has left that was killed."""

    def make(folder: Path) -> None:
        folder.mkdir()
        kill_with(9, model, folder / "package")

    return make_once("resumed-killed", make)


def cached(folder: Path) -> dict[str, int]:
    """The matrices that a killed conversion to `package` has left in a folder, and when they were written."""
    (left,) = folder.glob(".package.*")
    return {path.name: path.stat().st_mtime_ns for path in left.glob(f"{KEPT}/*/layers.*.npz")}


def test_the_same_command_goes_on(model: Path, whole: Path, killed: Path, tmp_path: Path) -> None:
    """At 7B a conversion takes a quarter of an hour: who lost the power must not lose all of that."""
    folder = Path(shutil.copytree(killed, tmp_path / "in"))
    assert_goes_on(model, folder, whole)


@pytest.mark.slow
def test_with_workers_the_same_command_goes_on(model: Path, tmp_path: Path) -> None:
    """Then other processes write the matrices, and are killed with the first. How many there are changes nothing."""
    ran = edgesw("convert", model, *TARGETS, *PLAIN, "-o", tmp_path / "whole")
    assert ran.code == 0, ran.err
    folder = tmp_path / "in"
    folder.mkdir()
    kill_with(9, model, folder / "package", *PLAIN, *WORKERS)
    assert_goes_on(model, folder, tmp_path / "whole", PLAIN, WORKERS)


def assert_goes_on(
    model: Path, folder: Path, whole: Path, more: tuple[str, ...] = (), workers: tuple[str, ...] = ()
) -> None:
    """A killed conversion to `package` in this folder is killed a second time, and completed the third time."""
    output, kept = folder / "package", cached(folder)
    assert not output.exists() and len(kept) >= 8
    kill_with(len(kept) + 4, model, output, *more, *workers)
    found = cached(folder)
    for name, written in kept.items():
        assert found[name] == written, "compressed again"
    ran = edgesw("convert", model, *TARGETS, *more, "-o", output)
    assert ran.code == 0, ran.err
    assert tree(output) == tree(whole)
    assert [path.name for path in folder.iterdir()] == ["package"]


@pytest.mark.slow
def test_what_was_kept_for_other_settings_is_not_taken(model: Path, killed: Path, tmp_path: Path) -> None:
    """Matrices of 4 bits in a package of 8, or of a model that was changed since, would be silent nonsense."""
    folder = Path(shutil.copytree(killed, tmp_path / "in"))
    words = ("--target", "onnx", "--bits", "8")
    ran = edgesw("convert", model, *words, "-o", folder / "package")
    assert ran.code == 0, ran.err
    ran = edgesw("convert", model, *words, "-o", tmp_path / "whole")
    assert ran.code == 0, ran.err
    assert tree(folder / "package") == tree(tmp_path / "whole")
    assert [path.name for path in folder.iterdir()] == ["package"]


def test_a_matrix_that_was_half_written_is_compressed_again(
    model: Path, whole: Path, killed: Path, tmp_path: Path
) -> None:
    """After a loss of power a file may have its size and not its content."""
    folder = Path(shutil.copytree(killed, tmp_path / "in"))
    damaged = sorted(folder.glob(f".package.*/{KEPT}/*/layers.*.npz"))
    assert len(damaged) >= 8
    for at, path in enumerate(damaged):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if at % 2 else bytes(len(content)))
    ran = edgesw("convert", model, *TARGETS, "-o", folder / "package")
    assert ran.code == 0, ran.err
    assert tree(folder / "package") == tree(whole)


@pytest.mark.parametrize(
    "moments", [pytest.param(8, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.nightly)]
)
def test_killed_at_any_moment(moments: int, model: Path, whole: Path, tmp_path: Path) -> None:
    """Whenever it happens: nothing at the final path, and in the end the package that an uninterrupted run makes."""
    output, random = tmp_path / "package", np.random.default_rng(0)
    words = ["convert", str(model), *TARGETS, "-o"]
    command = [sys.executable, "-c", f"import sys; from edgesw.cli import main; main({words} + sys.argv[1:])"]
    began = time.monotonic()
    subprocess.run([*command, tmp_path / "timed"], check=True, capture_output=True)
    length = time.monotonic() - began
    shutil.rmtree(tmp_path / "timed")
    killed = 0
    while killed < moments:
        with subprocess.Popen([*command, output], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                code = process.wait(random.uniform(0, 1.1 * length))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code == -signal.SIGKILL:
            killed += 1
            if not output.exists():
                continue
        assert tree(output) == tree(whole), "there it is whole"
        shutil.rmtree(output)
    ran = edgesw("convert", model, *TARGETS, "-o", output)
    assert ran.code == 0, ran.err
    assert tree(output) == tree(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
