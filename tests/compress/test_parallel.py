"""Matrices compressed by other processes, as `convert --workers` does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.compress.decoder import CompressedDecoder
from edgesw.compress.hold_out import HoldOut
from edgesw.compress.matrix import CompressedMatrix
from edgesw.compress.matrix_store import MatrixStore, Policy
from edgesw.compress.parallel import MatrixTask, MatrixWorkers, matrix_tasks
from edgesw.compress.plan import make_plan
from edgesw.errors import CheckpointError, EdgeswError
from edgesw.system.workers import worker_processes
from edgesw.targets.onnx import OnnxOptions, OnnxTarget


def convert(model: Path, output: Path, *options: object) -> dict[str, bytes]:
    """Every file of the package, by name."""
    ran = tiny.edgesw("convert", model, "--calibrate", "none", *options, "-o", output)
    assert ran.code == 0, ran.err
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        pytest.param(
            2, ("--target", "coreml", "--target", "onnx"), id="blocks for two targets", marks=pytest.mark.slow
        ),
        pytest.param(
            3,
            ("--target", "coreml", "--bits", "3", "--hold-out-fraction", "1e-3", "--chunks", "2"),
            marks=pytest.mark.slow,
            id="palettes, scalars, and an embedding that two chunks ask for",
        ),
    ],
)
def test_any_number_of_workers_gives_the_same_bytes(
    workers: int, options: tuple[str, ...], tiny_llama: Path, tmp_path: Path
) -> None:
    """Packages are compared and attested by their checksums."""
    one = convert(tiny_llama, tmp_path / "one", *options)
    assert convert(tiny_llama, tmp_path / "several", *options, "--workers", workers) == one


class Watched(ThreadPoolExecutor):
    """An executor that records its tasks."""

    def __init__(self) -> None:
        super().__init__(1)
        self.tasks: list[MatrixTask] = []

    def submit(self, work: Any, /, *arguments: Any, **named: Any) -> Future[Any]:
        self.tasks += arguments
        return super().submit(work, *arguments, **named)


def made(
    model: Path, folder: Path, executor: Any = None, workers: int = 1, policy: Policy = Policy.TAKE
) -> CompressedDecoder:
    """A decoder whose matrices workers compress; without an executor one that compresses them itself."""
    checkpoint = open_checkpoint(str(model))
    plan = make_plan(checkpoint.spec, OnnxTarget().capabilities(OnnxOptions()), 4)
    importance = {
        name: np.arange(1, checkpoint.spec.matrix_shape(name)[1] + 1.0) for name in checkpoint.spec.matrices()
    }
    hold_out = HoldOut({"layers.1.q_proj": (3,)}, ((0, 17, 101),))
    if executor is None:
        return CompressedDecoder(checkpoint, plan, importance, hold_out)
    tasks = matrix_tasks(checkpoint.source.path, plan, importance, hold_out, folder, workers)
    store = MatrixStore(folder, policy, MatrixWorkers(executor, workers, tasks).finish)
    return CompressedDecoder(checkpoint, plan, importance, hold_out, store)


def all_of(decoder: CompressedDecoder) -> None:
    for matrix in decoder.plan.matrices:
        decoder.matrix(matrix.name)


def same(one: CompressedMatrix, other: CompressedMatrix) -> bool:
    return np.array_equal(one.dense.codes, other.dense.codes) and np.array_equal(one.dequantize(), other.dequantize())


def test_tasks_are_paths_and_places_and_few_are_under_way(tiny_llama: Path, tmp_path: Path) -> None:
    """A tensor in a task would be sent through a pipe, and too many tasks would fill the disk with results."""
    alone = made(tiny_llama, tmp_path)
    with Watched() as executor:
        ahead = made(tiny_llama, tmp_path, executor)
        names = [matrix.name for matrix in ahead.plan.matrices]
        for done, name in enumerate(names, 1):
            assert same(ahead.matrix(name), alone.matrix(name))
            assert len(executor.tasks) <= done + 2
            assert len(list(tmp_path.glob("*.npz"))) <= 3
        assert [task.name for task in executor.tasks] == names

        def simple(value: Any) -> bool:
            return not isinstance(value, np.ndarray) and len(repr(value)) < 500

        assert all(simple(value) for task in executor.tasks for value in vars(task).values())
        assert same(ahead.matrix(names[0]), alone.matrix(names[0])), "asked for again"
        assert not list(tmp_path.glob("*.npz")), "what nobody will read is not left on the disk"


def test_workers_leave_alone_what_is_in_the_store(tiny_llama: Path, tmp_path: Path) -> None:
    """The next run goes on where the last one was interrupted."""
    with Watched() as executor:
        before = made(tiny_llama, tmp_path, executor, policy=Policy.KEEP)
        names = [matrix.name for matrix in before.plan.matrices]
        for name in names[:5]:
            before.matrix(name)
    stored = len(list(tmp_path.glob("*.npz")))
    assert stored >= 5
    with Watched() as executor:
        again = made(tiny_llama, tmp_path, executor, policy=Policy.KEEP)
        all_of(again)
        assert [task.name for task in executor.tasks] == names[stored:]


@pytest.mark.slow
def test_an_error_in_a_worker_is_the_users_one_line(tmp_path: Path, tiny_llama: Path) -> None:
    import shutil

    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_llama, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = np.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with worker_processes(1) as executor:
        ahead = made(folder, scratch, executor)
        with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight' holds NaN"):
            all_of(ahead)


def test_a_worker_that_is_killed_ends_in_one_line(tiny_llama: Path, tmp_path: Path) -> None:
    """As the kernel does when memory runs out."""
    with worker_processes(1) as executor:
        pid = executor.submit(os.getpid).result()
        ahead = made(tiny_llama, tmp_path, executor)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EdgeswError, match="fewer --workers"):
            all_of(ahead)


def test_workers_do_not_outlive_who_they_work_for(tmp_path: Path) -> None:
    """A conversion that is killed must not leave processes that hold gigabytes."""
    program = (
        "import os, time\n"
        "from edgesw.system.workers import worker_processes\n"
        "if __name__ == '__main__':\n"
        "    with worker_processes(1) as executor:\n"
        "        print(executor.submit(os.getpid).result(), flush=True)\n"
        "        time.sleep(60)\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(program)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").exists() and Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return  # dead, and nobody has asked for it yet
        time.sleep(0.1)
    raise AssertionError("the worker lives on")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_workers_that_would_not_work_are_refused(more: tuple[str, ...], tiny_llama: Path, tmp_path: Path) -> None:
    """With error compensation one matrix is compressed after the other: somebody who asked for eight processes and got
    one would wait for an hour and wonder."""
    ran = tiny.edgesw("convert", tiny_llama, "--target", "onnx", "--workers", 2, *more, "-o", tmp_path / "package")
    assert ran.code == 2 and ran.out == "" and ran.err.count("\n") == 1
    assert all(word in ran.err for word in ("--workers", "error compensation", "--effort fast"))
    assert not list(tmp_path.iterdir())
