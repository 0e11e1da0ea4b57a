"""A conversion that is stopped, by the user or by the system, leaves nothing that could be taken for a package."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import edgesw, save_llama, tree

import edgesw as library
from edgesw.package.manifest import read_manifest
from edgesw.package.publish import KEPT, check_files, leaves_cache

PATIENCE = 120  # seconds, for machines that are busy with other things


@pytest.fixture(scope="module")
def slow_model(make_once: Callable[..., Path]) -> Path:
    """Large enough that a conversion can be stopped in the middle."""
    return make_once("slow", lambda folder: save_llama(folder, steps=0, intermediate_size=320, num_hidden_layers=5))


@contextmanager
def converting(model: Path, output: Path, target: str, until: str) -> Iterator[subprocess.Popen[str]]:
    """`edgesw convert` in a process of its own that has just written the file or folder `until`."""
    words = ["convert", str(model), "--target", target, "--calibrate", "none", "-o", str(output)]
    command = [sys.executable, "-c", f"from edgesw.cli import main; main({words})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + PATIENCE
        while not any(output.parent.glob(f".{output.name}.*.partial/{until}")):
            assert process.poll() is None, f"it ended before {until} was there: {process.communicate()}"
            assert time.monotonic() < end
            time.sleep(0.002)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_conversion_leaves_no_package_and_the_next_one_cleans_up(
    slow_model: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    """Out of memory, a battery that ran empty: next time must work without anybody deleting hidden folders."""
    output = tmp_path / "package"
    with converting(slow_model, output, "onnx", "model.onnx.data") as process:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".package."), "a killed process cannot clean up: if it did, this test tests nothing"
    assert edgesw("validate", output, "--against", slow_model).code == 2
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "-o", output)
    assert ran.code == 0, ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    check_files(output, read_manifest(output), contents=True)


@pytest.mark.slow
def test_ctrl_c_at_the_beginning_ends_in_one_line_and_leaves_nothing(slow_model: Path, tmp_path: Path) -> None:
    """People do change their minds."""
    with converting(slow_model, tmp_path / "new" / "package", "onnx", "tokenizer.json") as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert out == ""
    assert err.lstrip("\n") == "Error: interrupted; nothing was left behind.\n", "the empty line ends that of ^C"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_keeps_the_finished_matrices_and_says_so(slow_model: Path, tmp_path: Path) -> None:
    """In the middle of coremltools' builder, with a quarter of an hour of work done at 7B: what `kill -9` keeps, Ctrl-C
    must not throw away, and the user must know."""
    output = tmp_path / "package"
    with converting(slow_model, output, "coreml", f"{KEPT}/*/layers.1.q_proj.npz") as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, ""), err
    said = "interrupted; the finished matrices are kept: run the same command again to continue."
    assert err.lstrip("\n") == f"Error: {said}\n"
    (left,) = tmp_path.iterdir()
    kept = {path.name: path.stat().st_mtime_ns for path in left.rglob("*.npz")}
    assert left.name.startswith(".package.") and len(kept) >= 7 and {path.name for path in left.iterdir()} == {KEPT}
    times: dict[str, int] = {}

    def watch(stage: str, step: str, done: int, total: int) -> None:
        times.update({path.name: path.stat().st_mtime_ns for path in tmp_path.glob(".package.*/*/*/*.npz")})

    library.convert(slow_model, output, library.Settings(("coreml",), calibration="none"), progress=watch)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]
    assert {name: times[name] for name in kept} == kept, "not compressed again"
    whole = edgesw("convert", slow_model, "--target", "coreml", "--calibrate", "none", "-o", tmp_path / "whole")
    assert whole.code == 0 and tree(output) == tree(tmp_path / "whole")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("torch: could not determine the shape")])
def test_an_interruption_that_compiled_code_renames_is_resumed_too(
    error: BaseException, tiny_llama: Path, tmp_path: Path
) -> None:
    output = tmp_path / "package"

    def interrupt(stage: str, step: str, done: int, total: int) -> None:
        if stage.startswith("Writing") and done == 5:
            raise error

    with pytest.raises(type(error)):
        library.convert(tiny_llama, output, library.Settings(("onnx",), calibration="none"), progress=interrupt)
    assert leaves_cache(output) and not output.exists()
    library.convert(tiny_llama, output, library.Settings(("onnx",), calibration="none"))
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), library.EdgeswError("refused")])
def test_an_error_leaves_nothing(error: Exception, tiny_llama: Path, tmp_path: Path) -> None:
    """A full disk that stays full of our own leftovers would be the worst of answers."""

    def fail(stage: str, step: str, done: int, total: int) -> None:
        if stage.startswith("Writing") and done == 5:
            raise error

    with pytest.raises(type(error)):
        library.convert(
            tiny_llama, tmp_path / "package", library.Settings(("onnx",), calibration="none"), progress=fail
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("instead", ["ValueError('no shape')", "edgesw.errors.UsageError('no such file')"])
def test_ctrl_c_is_an_interruption_whatever_compiled_code_makes_of_it(instead: str) -> None:
    """torch's slicing answers a Ctrl-C with a ValueError about shapes: people would report that as a bug."""
    program = f"""
import importlib, os, signal, edgesw.errors
from edgesw.cli import main
def interrupted():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        while True: pass
    except KeyboardInterrupt:
        raise {instead}
importlib.import_module("edgesw.cli.recipes").all_recipes = interrupted
main(["recipes", "list"])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert ran.returncode == 130, ran.stderr
    assert ran.stderr.lstrip("\n") == "Error: interrupted; nothing was left behind.\n"
