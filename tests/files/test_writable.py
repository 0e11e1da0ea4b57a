"""Whether a path can be written to, found out before an hour of work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tiny import unchanged

from edgesw.errors import UsageError
from edgesw.files.writable import check_writable_file, check_writable_folder


def test_a_path_that_can_be_written_to_passes_and_is_not_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.png").write_text("old")
    with unchanged(tmp_path):
        check_writable_folder(tmp_path / "new" / "folder", "choose another")
        check_writable_folder(Path("new"), "choose another")
        check_writable_file(tmp_path / "plot.png", "choose another")
        check_writable_file(Path("old.png"), "choose another")


def test_each_obstacle_is_named_with_what_to_do(tmp_path: Path) -> None:
    """The message names the path that is in the way: with a long path nobody should have to look for it."""
    file = tmp_path / "notes"
    file.write_text("")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=rf"^'{file}' is not a folder .*: choose another\.$"):
        check_writable_folder(file / "a" / "b", "choose another")
    with pytest.raises(UsageError, match=rf"^'{tmp_path / 'gone'}' is not a folder .*: choose another\.$"):
        check_writable_folder(tmp_path / "gone" / "b", "choose another")
    with pytest.raises(UsageError, match=rf"^'{tmp_path}' is a folder: choose another\.$"):
        check_writable_file(tmp_path, "choose another")
    with pytest.raises(UsageError, match=rf"^folder '{tmp_path / 'no'}' does not exist: create it, or choose another"):
        check_writable_file(tmp_path / "no" / "plot.png", "choose another")
    with pytest.raises(UsageError, match="is not a folder"):
        check_writable_file(file / "plot.png", "choose another")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_place_is_tried_and_not_asked(tmp_path: Path) -> None:
    """The system says that root may write to /proc; and a name may be long enough to be no name while it is written."""
    assert os.access("/proc", os.W_OK) or os.geteuid() != 0
    with pytest.raises(UsageError, match=r"^'/proc' cannot be written to \(.*\): choose another\.$"):
        check_writable_file(Path("/proc/plot.png"), "choose another")
    with pytest.raises(UsageError, match=r"'/proc' cannot be written to"):
        check_writable_folder(Path("/proc/new/folder"), "choose another")
    name = tmp_path / f"{'n' * 250}.png"
    with unchanged(tmp_path), pytest.raises(UsageError, match=r"n\.png' cannot be written to \(File name too long\)"):
        check_writable_file(name, "choose another")
