"""What goes wrong under a conversion: its source, its room, its workers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from file_limit import files_up_to
from tiny import assert_one_line, edgesw

from edgesw.checkpoint.checkpoint import open_checkpoint
from edgesw.conversion.convert import convert
from edgesw.conversion.settings import Settings
from edgesw.errors import CheckpointError


def at(stage: str, do: Callable[[], object]) -> Callable[[str, str, int, int], None]:
    """Progress that does something once, when a stage begins."""
    waiting = [do]

    def progress(said: str, detail: str, done: int, total: int) -> None:
        if said == stage and waiting:
            waiting.pop()()

    return progress


@pytest.mark.parametrize("stage", ["Calibrating", "Writing ONNX"])
@pytest.mark.parametrize("damage", ["cut", pytest.param("rewritten", marks=pytest.mark.slow)])
def test_a_model_that_changes_under_the_run_is_no_package(
    damage: str, stage: str, tiny_llama: Path, tmp_path: Path
) -> None:
    """A download that is still going on, or a training that saves over it: half of each is nobody's model."""
    model = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    weights = model / "model.safetensors"

    def change() -> None:
        if damage == "cut":
            os.truncate(weights, weights.stat().st_size // 2)
        else:
            content = bytearray(weights.read_bytes())
            content[-1000:] = bytes(1000)
            weights.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"model") as error:
        convert(
            open_checkpoint(str(model)), Settings(("onnx",)), tmp_path / "package", force=False,
            progress=at(stage, change),
        )  # fmt: skip
    assert "again" in str(error.value)
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_file_that_cannot_grow_is_one_line_wherever_it_happens(
    share: float, tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """As on a disk that is full: at the first write or at the last, nothing is left and one line says why."""
    options = ("--target", "onnx", "--calibrate", "none")
    most = int(share * (converted(*options) / "model.onnx.data").stat().st_size)
    with files_up_to(most):
        ran = edgesw("convert", tiny_llama, *options, "-o", tmp_path / "package")
    assert_one_line(ran, 1)
    assert list(tmp_path.iterdir()) == []
