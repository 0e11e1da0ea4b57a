"""A conversion that was killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import edgesw, save_llama, tree

from edgesw.package.publish import KEPT

PATIENCE = 240  # seconds, for machines that are busy with other things
TARGETS = ("--target", "onnx", "--target", "coreml", "--scheme", "block")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Large enough that a conversion can be stopped in the middle."""
    folder = tmp_path_factory.mktemp("resumed") / "model"
    save_llama(folder, steps=0, hidden_size=128, intermediate_size=512, num_hidden_layers=4)
    return folder


def begin(model: Path, output: Path, *more: str) -> subprocess.Popen[str]:
    words = ["convert", str(model), *TARGETS, *more, "-o", str(output)]
    command = [sys.executable, "-c", f"from edgesw.cli import main; main({words})"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def matrices(output: Path) -> set[str]:
    """What is kept of tries for this package."""
    return {path.name for path in output.parent.glob(f".{output.name}.*.partial/{KEPT}/*/*.npz")}


def kill_with(count: int, process: subprocess.Popen[str], output: Path) -> None:
    """Kill it once so many matrices are kept."""
    end = time.monotonic() + PATIENCE
    while len(matrices(output)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.002)
    process.kill()
    process.wait()


@pytest.mark.parametrize("more", [(), ("--calibrate", "none", "--workers", "2")], ids=["compensated", "workers"])
def test_the_same_command_goes_on(more: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    """At 7B a conversion takes a quarter of an hour: who lost the power must not lose all of that."""
    ran = edgesw("convert", model, *TARGETS, *more, "-o", tmp_path / "whole")
    assert ran.code == 0, ran.err
    output = tmp_path / "package"
    with begin(model, output, *more) as process:
        kill_with(9, process, output)
    assert not output.exists()
    (left,) = tmp_path.glob(".package.*")
    kept = {path: path.stat().st_mtime_ns for path in left.glob(f"{KEPT}/*/layers.*.npz")}
    assert len(kept) >= 8
    with begin(model, output, *more) as process:
        kill_with(len(kept) + 4, process, output)
    (left,) = tmp_path.glob(".package.*")
    found = {path.name: path.stat().st_mtime_ns for path in left.glob(f"{KEPT}/*/layers.*.npz")}
    for path, written in kept.items():
        assert found[path.name] == written, "compressed anew"
    ran = edgesw("convert", model, *TARGETS, *more, "-o", output)
    assert ran.code == 0, ran.err
    assert tree(output) == tree(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"package", "whole"}


def test_what_was_kept_for_other_settings_is_not_taken(model: Path, tmp_path: Path) -> None:
    """Matrices of 4 bits in a package of 8, or of a model that was changed since, would be silent nonsense."""
    output = tmp_path / "package"
    with begin(model, output) as process:
        kill_with(6, process, output)
    words = ("--target", "onnx", "--bits", "8")
    ran = edgesw("convert", model, *words, "-o", output)
    assert ran.code == 0, ran.err
    ran = edgesw("convert", model, *words, "-o", tmp_path / "whole")
    assert ran.code == 0, ran.err
    assert tree(output) == tree(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"package", "whole"}


def test_a_matrix_that_was_half_written_is_made_anew(model: Path, tmp_path: Path) -> None:
    """After a loss of power a file may have its size and not its content."""
    ran = edgesw("convert", model, *TARGETS, "-o", tmp_path / "whole")
    assert ran.code == 0, ran.err
    output = tmp_path / "package"
    with begin(model, output) as process:
        kill_with(6, process, output)
    for at, path in enumerate(sorted(tmp_path.glob(f".package.*/{KEPT}/*/layers.*.npz"))):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content if at % 2 else bytes(len(content)))
    ran = edgesw("convert", model, *TARGETS, "-o", output)
    assert ran.code == 0, ran.err
    assert tree(output) == tree(tmp_path / "whole")


@pytest.mark.slow
def test_killed_at_fifty_moments(model: Path, tmp_path: Path) -> None:
    """Whenever it happens: nothing at the final path, and in the end the package that an uninterrupted run makes."""
    output, random = tmp_path / "package", np.random.default_rng(0)
    began = time.monotonic()
    with begin(model, tmp_path / "whole") as process:
        assert process.wait() == 0
    length = time.monotonic() - began
    killed = 0
    while killed < 50:
        with begin(model, output) as process:
            try:
                code = process.wait(random.uniform(0, 1.1 * length))
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
        if code == -signal.SIGKILL:
            killed += 1
            if not output.exists():
                continue
        assert tree(output) == tree(tmp_path / "whole"), "there it is whole"
        for path in sorted(output.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        output.rmdir()
    ran = edgesw("convert", model, *TARGETS, "-o", output)
    assert ran.code == 0, ran.err
    assert tree(output) == tree(tmp_path / "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"package", "whole"}
