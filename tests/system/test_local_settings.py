"""Settings of libraries in the current folder are not read: the folder may be a downloaded model's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edgesw as library

ROOT = Path(library.__file__).parents[1]
HOSTILE = {
    ".numba_config.yaml": b"cache_dir: CACHE\ndisable_jit: 1\n",
    "matplotlibrc": b"text.usetex: True\nfigure.facecolor: red\nsvg.fonttype: none\n",
}
DAMAGED = {".numba_config.yaml": b"\x00 : [", "matplotlibrc": b"\xff\xfe"}
KERNEL = """
from edgesw.compress.compiled import kernel, numba
import edgesw.compress.kmeans
assert not numba.config.DISABLE_JIT, "the settings were read"
assert numba.config.CACHE_DIR == "", numba.config.CACHE_DIR
numba.core.config.reload_config()  # as each compilation does
assert numba.config.CACHE_DIR == "", numba.config.CACHE_DIR
"""
DRAWN = """
from pathlib import Path
from edgesw.report.plots import save_plot
from edgesw.report.tradeoff import Point, tradeoff_plot
save_plot(tradeoff_plot([Point("a$_{b$ 模", 10, 0.1)]), Path("plot.svg"))
"""


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", "import sys; del sys.path[0]\n" + program]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def written(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("files", [HOSTILE, DAMAGED], ids=["hostile", "damaged"])
def test_numba_takes_no_cache_from_the_current_folder(files: dict[str, bytes], tmp_path: Path) -> None:
    """A cache is pickles: one that came with a model would run its code."""
    folder = written(tmp_path / "model", files)
    ran = run(KERNEL, folder)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {path.name for path in folder.iterdir()} == set(files)


@pytest.mark.parametrize("files", [HOSTILE, DAMAGED], ids=["hostile", "damaged"])
def test_a_plot_is_drawn_the_same_whatever_the_current_folder_wants(files: dict[str, bytes], tmp_path: Path) -> None:
    """`text.usetex` would have names typeset by TeX, and a damaged file would end hours of work at the last step. A `$`
    in a name starts no formula."""
    drawn = []
    for folder in (written(tmp_path / "empty", {}), written(tmp_path / "model", files)):
        ran = run(DRAWN, folder)
        assert (ran.returncode, ran.stderr) == (0, "")
        drawn.append((folder / "plot.svg").read_bytes())
    assert drawn[0] == drawn[1]


def test_doctor_is_not_misled(tmp_path: Path) -> None:
    """It loads each library, and would call numba broken."""
    program = "from edgesw.system.findings import why_not; assert why_not('numba') is None"
    ran = run(program, written(tmp_path / "model", DAMAGED))
    assert (ran.returncode, ran.stderr) == (0, "")
