"""`python -m benchmarks` lists the benchmarks; `python -m benchmarks NAME [ARGS]` runs one."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

from benchmarks.lib.benchmark import FOLDERS, Benchmark, commands, load, make_parser
from edgesw.errors import EdgeswError

WIDTH = 120


def main(arguments: Sequence[str]) -> None:
    """List the benchmarks, or run the one that is named first. Only that one is imported."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(listing())
        return
    command, *rest = arguments
    if command not in commands():
        sys.exit(f"Error: '{command}' is not a benchmark. `python -m benchmarks` lists them.")
    module = load(command)
    given = make_parser(command, module).parse_args(rest)
    try:
        module.main(given)
    except EdgeswError as error:
        sys.exit(f"Error: {error}")


def listing() -> str:
    """Every benchmark: its command, its minutes, what it measures and where its figures are."""
    lines = ["Run one: python -m benchmarks NAME [ARGS]. Its options: python -m benchmarks NAME --help.",
             "Minutes are about those of two idle cores."]  # fmt: skip
    for folder, heading in FOLDERS.items():
        lines += ["", heading]
        for command, module in commands().items():
            if module.startswith(f"benchmarks.{folder}."):
                lines += _entry(command, load(command).BENCHMARK)
    return "\n".join(lines)


def _entry(command: str, benchmark: Benchmark) -> list[str]:
    minutes = f"{benchmark.minutes:g} minute{'' if benchmark.minutes == 1 else 's'}"
    texts = (benchmark.measures, *map(str, benchmark.docs))
    wrapped = (textwrap.indent(textwrap.fill(text, WIDTH - 6), " " * 6) for text in texts)
    return ["", f"  {command} ({minutes})", *wrapped]


if __name__ == "__main__":
    main(sys.argv[1:])
