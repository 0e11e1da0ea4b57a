"""edgesw study"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesw.cli.progress import Bar
from edgesw.cli.shared_options import text_option
from edgesw.cli.tables import inform, print_json, print_table
from edgesw.errors import EdgeswError

if TYPE_CHECKING:
    from edgesw.study.result import StudyResult

# The same as in edgesw.study.study, which takes seconds to import.
EXPERIMENTS = ("prune", "scale", "stopwords", "blocks", "activations")
ALL = "all"


@click.command()
@click.argument("model")
@click.option(
    "--experiment",
    required=True,
    type=click.Choice((*EXPERIMENTS, ALL)),
    help="The experiment, or all of them.",
)
@text_option
@click.option("--windows", default=4, show_default=True, type=click.IntRange(1), help="Windows to measure over.")
@click.option(
    "--tokens",
    default=256,
    show_default=True,
    type=click.IntRange(2),
    help="Tokens per window, with BOS where the tokenizer adds it.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for EXPERIMENT.json and EXPERIMENT.png; those of an earlier run are replaced.  [default: study-NAME]",
)
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON instead of a table; a list for all.")
def study(
    model: str,
    experiment: str,
    text: str | None,
    windows: int,
    tokens: int,
    output: Path | None,
    revision: str | None,
    as_json: bool,
) -> None:
    """Repeat an experiment of the super weight paper (arXiv 2411.07191) on MODEL.

    \b
    prune        perplexity without the super weights, or without many other large weights
    scale        perplexity with the super weights times 0, 0.2 ... 3
    stopwords    probability of stop words with and without the super weights
    blocks       4-bit round-to-nearest at growing block sizes, with and without hold-out
    activations  8-bit activations, with and without the super activation in float

    Prints a table, and writes it as JSON together with a plot.
    """
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.checkpoint.source import plain_name
    from edgesw.files.writable import check_writable_folder
    from edgesw.study.study import study as run
    from edgesw.study.write import write_result
    from edgesw.text.texts import load_text
    from edgesw.text.tokenizer import Tokenizer

    folder = output or Path(f"study-{plain_name(model)}")
    check_writable_folder(folder, "choose another -o")
    loaded = load_text(text)
    checkpoint = open_checkpoint(model, revision)
    tokenizer = Tokenizer.from_files(checkpoint.tokenizer_files(), model)
    names = EXPERIMENTS if experiment == ALL else (experiment,)
    results: list[StudyResult] = []
    written: list[Path] = []
    try:
        with Bar() as bar:
            for result in run(checkpoint, tokenizer, names, loaded, count=windows, tokens=tokens, progress=bar):
                results.append(result)
                written += write_result(result, folder)
    except (OSError, EdgeswError):  # a full disk, a tokenizer that breaks off: what was measured is not lost
        if results:
            _print(results, as_list=experiment == ALL, as_json=as_json)
        raise
    _print(results, as_list=experiment == ALL, as_json=as_json)
    inform(f"Wrote {', '.join(map(str, written))}")


def _print(results: list[StudyResult], *, as_list: bool, as_json: bool) -> None:
    if as_json:
        printed = [result.to_dict() for result in results]
        print_json(printed if as_list or not printed else printed[0])
    else:
        for index, result in enumerate(results):
            if index:
                click.echo()
            columns, rows = result.findings.columns, result.findings.rows
            print_table(
                f"{result.model}, {result.title}: {result.measured_on}",
                [column.title for column in columns],
                [[column.write(row) for column in columns] for row in rows],
            )
            for note in result.findings.notes:
                click.echo(note)
