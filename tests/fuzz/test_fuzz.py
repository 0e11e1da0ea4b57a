"""Hostile files: whatever is in them, a reader takes them or refuses them in one line, in little memory and time, and
opens nothing outside their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest
from guard import limits, read_safely
from readers import READERS, SOUND, Reader
from tokenizer_readers import TOKENIZER_READERS

FEW = 60
SEED_PHASES = (hypothesis.Phase.generate, hypothesis.Phase.shrink)


@pytest.fixture(params=[*READERS, *TOKENIZER_READERS], ids=lambda reader: reader.name)
def reader(request: pytest.FixtureRequest) -> Reader:
    found: Reader = request.param
    return found


@pytest.fixture
def folder(reader: Reader, tmp_path: Path) -> Path:
    """The reader's folder; outside it lies what hostile names lead to."""
    folder = tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    reader.prepare(folder)
    for place in (tmp_path, tmp_path / "in"):
        (place / "secret").write_bytes(b"secret")
    (folder / "link").symlink_to(tmp_path)
    (folder / "linked").symlink_to(tmp_path / "secret")
    reader.write(folder, SOUND)
    reader.read(folder)  # also imports and compiles, once, what it needs
    return folder


def fuzz(reader: Reader, folder: Path, count: int) -> tuple[int, int]:
    """How many hostile inputs were read, and how many of them refused."""
    read = taken = 0

    @hypothesis.settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=SEED_PHASES,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(reader.inputs)
    def run(example: Any) -> None:
        nonlocal read, taken
        size = reader.write(folder, example)
        read += 1
        taken += read_safely(reader.read, folder, size)

    with limits():
        run()
    return read, read - taken


def test_a_hostile_file_is_refused_in_one_line(reader: Reader, folder: Path) -> None:
    """Else a download that was tampered with ends in a traceback, a hang, a full memory, or reads another's files."""
    read, refused = fuzz(reader, folder, FEW)
    assert read >= FEW
    assert refused > read / 4, "most edits must reach what they are meant to break"


@pytest.mark.parametrize(
    "many", [pytest.param(2_000, marks=pytest.mark.slow), pytest.param(20_000, marks=pytest.mark.nightly)]
)
def test_thousands_of_hostile_files(many: int, reader: Reader, folder: Path) -> None:
    """The same for so many that rare damage is among it. 200,000 in all take half an hour."""
    read, refused = fuzz(reader, folder, many)
    print(f"{reader.name}: {read} inputs, {refused} of them refused")  # shown by `pytest -rP`
    assert read >= many
