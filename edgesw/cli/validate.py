"""edgesw validate"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesw.cli.progress import Bar
from edgesw.cli.shared_options import (
    against_option,
    limit_options,
    limits,
    other_model_option,
    text_option,
    windows_option,
)
from edgesw.cli.tables import print_json, print_table
from edgesw.formats.coreml_layout import UNITS
from edgesw.runtime.arm_machine import CPUS
from edgesw.system.sizes import counted, format_size

if TYPE_CHECKING:
    from edgesw.validation.validation_report import ValidationReport

TOO_FAR = 3
FIGURES = ("perplexity", "float", "increase", "KL mean", "KL 99%", "top-1", "top-5")


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@text_option
@against_option
@other_model_option
@click.option("--target", "targets", multiple=True, help="Only this target; repeatable.  [default: all in the package]")
@windows_option
@click.option(
    "--tokens",
    default=512,
    show_default=True,
    type=click.IntRange(2),
    help="Tokens per window, with BOS where the tokenizer adds it.",
)
@limit_options
@click.option(
    "--precision",
    default="float16",
    show_default=True,
    type=click.Choice(("float16", "float32")),
    help="Precision of the MIL interpreter, which runs Core ML models where there is no Core ML.",
)
@click.option(
    "--compute",
    type=click.Choice(UNITS),
    help="Compute units for Core ML, only on a Mac.  [default: the ones the package is built for]",
)
@click.option(
    "--runtime",
    type=click.Choice(("arm64", *(f"arm64:{cpu}" for cpu in CPUS))),
    help="Also run the ONNX model on ARM processors, emulated unless this machine is one: all three, or one. Slow: use "
    "few --windows and --tokens.",
)
@click.option(
    "--details",
    is_flag=True,
    help="Also show what the float model and the package generate, and which matrices have the largest errors: a few "
    "more passes of the float model.",
)
@click.option("--long", is_flag=True, help="Also read the text to the end of the package's context.")
@click.option(
    "--tasks",
    is_flag=False,
    flag_value="some",
    metavar="[all|FILE]",
    help="Also ask float model and package questions: some of those that ship, all of them, or a file of JSON lines.",
)
@click.option("--record", is_flag=True, help="Write the figures into the package: model card and validation.json.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def validate(
    package: Path,
    text: str | None,
    against: str | None,
    other_model: bool,
    targets: tuple[str, ...],
    windows: int | None,
    tokens: int,
    precision: str,
    compute: str | None,
    runtime: str | None,
    details: bool,
    long: bool,
    tasks: str | None,
    record: bool,
    as_json: bool,
    **most: float,
) -> None:
    """Measure PACKAGE against its float model: perplexity, KL divergence, top-1 agreement, and a verdict.

    A target passes if it is within all limits on every kind of text; the exit code is 3 when one is not.
    """
    import edgesw
    from edgesw.report.measured import check_record
    from edgesw.report.measured import record as write_measured

    if record:
        check_record(package)
    with Bar() as bar:
        report = edgesw.validate(
            package,
            text=text,
            against=against,
            other_model=other_model,
            targets=targets,
            windows=windows,
            tokens=tokens,
            limits=limits(**most),
            details=details,
            long=long,
            tasks=tasks,
            progress=bar,
            precision=precision,
            compute=compute,
            cpus=() if runtime is None else tuple(CPUS) if runtime == "arm64" else (runtime.partition(":")[2],),
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(str(package), report)
    if record:
        write_measured(package, report)
    click.get_current_context().exit(0 if report.passed else TOO_FAR)


def print_report(title: str, report: ValidationReport) -> None:
    """The report as tables on stdout, and a line for each reason of a verdict."""
    from edgesw.validation.task_report import COLUMNS as TASK_COLUMNS

    verdicts = {name: report.verdict(name) for name in report.targets}
    print_table(
        f"{title}: {report.text}, {report.measured_on}, no overlap",
        ("target", "verdict", *FIGURES, "size", "runtime"),
        [
            (
                name,
                "pass" if verdicts[name].passed else "FAIL",
                *result.cells,
                format_size(report.sizes[name]) if name in report.sizes else "",
                result.runtime,
            )
            for name, result in report.targets.items()
        ],
        left=2,
    )
    if report.kinds:
        click.echo()
        print_table(
            "By kind of text",
            ("target", "text", *FIGURES),
            [(name, kind, *one.cells) for name, result in report.targets.items() for kind, one in result.kinds.items()],
            left=2,
        )
    for name, verdict in verdicts.items():
        for line in verdict.failures:
            click.echo(f"{name} fails: {line}.")
        for line in (*verdict.warnings, *report.advice.get(name, ())):
            click.echo(f"{name}: {line}.")
    for each in report.long:
        at = ", ".join(f"{kl:.4f} ({n:,})" for n, kl in zip(each.positions, each.divergences, strict=True))
        click.echo(f"KL of {each.target}, by number of tokens read in one text: {at}")
    if report.tasks is not None:
        click.echo()
        print_table(f"Tasks: {report.tasks.name}", TASK_COLUMNS, report.tasks.rows(), left=1)
    for name, result in report.uncorrected.items():
        click.echo(
            f"Without what is held out, {name} has perplexity {result.perplexity:,.3f} ({result.increase:+,.1%}), "
            f"KL {result.kl_divergence:.4f}, top-1 {result.top1_agreement:.1%}."
        )
    for name in report.sizes if report.matrices else ():
        worst = ", ".join(f"{matrix.name} {matrix.error:.1%}" for matrix in report.worst(name))
        click.echo(f"Furthest off in {name}: {worst}")
    for sample in report.samples:
        click.echo(f"\n{sample.prompt} ...")
        click.echo(f"  float: {sample.float_text.strip()!r}")
        for name, written in sample.texts.items():
            click.echo(f"  {name}: {written.strip()!r} ({counted(sample.same_tokens[name], 'token')} as float)")
