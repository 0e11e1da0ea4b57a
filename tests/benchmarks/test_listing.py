"""`python -m benchmarks`: every benchmark is listed, and what the docs quote exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import listing, main
from benchmarks.lib.benchmark import Benchmark, commands, load, make_parser

ROOT = Path(__file__).parents[2]
# The pages that may quote a command.
PAGES = [
    *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "apps").rglob("*.md"),
    *(ROOT / "benchmarks").glob("*.md"), *(ROOT / "scripts").glob("*.sh"), ROOT / "Makefile",
]  # fmt: skip
# What ends a command in running text: a quote, a bracket, a semicolon, the end of a code block's line.
QUOTED = re.compile(r"python -m benchmarks (?P<command>[a-z][a-z0-9-]*)(?P<rest>[^`;)\n]*)")
MEASURES_ITSELF = ("conversion", "convert-7b", "descent", "onnx-decode", "palettize")


def headings(page: Path) -> set[str]:
    return {line.lstrip("#").strip() for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("#")}


def quoted() -> list[tuple[str, str, str]]:
    """Page, command and arguments of every quotation; a code span may be broken over two lines."""
    found = []
    for page in PAGES:
        text = re.sub(r"`[^`\n]*\n[^`\n]*`", lambda span: span[0].replace("\n", " "), page.read_text(encoding="utf-8"))
        found += [(page.name, match["command"], match["rest"]) for match in QUOTED.finditer(text)]
    return found


@pytest.mark.parametrize("command", commands())
def test_every_benchmark_says_what_it_measures_and_where_its_table_is(command: str) -> None:
    """Otherwise nobody finds the command that makes a table, or knows whether it takes a minute or an hour."""
    module = load(command)
    assert isinstance(module.BENCHMARK, Benchmark)
    measures, minutes = module.BENCHMARK.measures, module.BENCHMARK.minutes
    assert "\n" not in measures and measures.endswith(".") and minutes > 0
    assert module.BENCHMARK.docs
    for section in module.BENCHMARK.docs:
        assert section.heading in headings(ROOT / section.file), section
        page = " ".join((ROOT / section.file).read_text(encoding="utf-8").split())
        assert f"python -m benchmarks {command}" in page or f"`{command}`" in page, f"{section.file} names the command"
    assert f"python -m benchmarks {command}" in make_parser(command, module).format_help()


def test_the_listing_has_all_of_it() -> None:
    shown = listing()
    for command in commands():
        benchmark = load(command).BENCHMARK
        assert f"  {command} ({benchmark.minutes:g} minute" in shown and benchmark.measures in shown
        assert all(str(section) in shown for section in benchmark.docs)
    assert all(len(line) <= 120 for line in shown.splitlines())


def test_every_command_that_is_quoted_exists() -> None:
    """Otherwise a reader who wants to check a figure meets an error. Options are checked, placeholders are not."""
    quotations = quoted()
    assert len(quotations) > 10, "the pattern no longer finds them"
    for page, command, rest in quotations:
        assert command in commands(), f"{page}: python -m benchmarks {command}"
        known = make_parser(command, load(command)).format_help()
        assert all(option in known for option in re.findall(r"--[a-z-]+", rest)), f"{page}: {command}{rest}"


def test_every_file_that_is_quoted_exists() -> None:
    for page in PAGES:
        for path in re.findall(r"\bbenchmarks/[\w/]+\.\w+", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_a_command_that_does_not_exist_ends_in_one_line() -> None:
    with pytest.raises(SystemExit, match=r"^Error: 'qualty' is not a benchmark\. `python -m benchmarks` lists them\.$"):
        main(["qualty"])


def test_an_error_of_the_library_ends_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^Error: [^\n]*nowhere[^\n]*$"):
        main(["off-grid", str(tmp_path), "--model", str(tmp_path / "nowhere")])


@pytest.mark.parametrize("command", MEASURES_ITSELF)
def test_what_measures_processes_loads_nothing_large(command: str) -> None:
    """A child starts as a copy of the benchmark: its peak memory would be the benchmark's own, and numpy would have
    counted its threads before they are limited."""
    program = (
        "import sys; from benchmarks.__main__ import main\n"
        "try: main([sys.argv[1], '--help'])\nexcept SystemExit: pass\n"
        "assert not {'numpy', 'torch', 'onnx', 'coremltools'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program, command], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
