"""edgesw report"""

from __future__ import annotations

from pathlib import Path

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
from edgesw.cli.validate import TOO_FAR, print_report


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output file.  [default: PACKAGE-report.html]")
@text_option
@against_option
@other_model_option
@windows_option
@limit_options
@click.option("--force", is_flag=True, help="Replace an existing file.")
def report(
    package: Path,
    output: Path | None,
    text: str | None,
    against: str | None,
    other_model: bool,
    windows: int | None,
    force: bool,
    **most: float,
) -> None:
    """Write a report on PACKAGE as one HTML file: verdict, super weights, error of each matrix, perplexity by window,
    samples, provenance.

    Exits with 3 after writing the file if a target is beyond a limit on any kind of text.
    """
    from edgesw.errors import EdgeswError, PackageError, UsageError
    from edgesw.files.atomic_write import staged
    from edgesw.files.writable import check_writable_file
    from edgesw.outliers.detect import find_outliers
    from edgesw.package.manifest import read_manifest
    from edgesw.report.html import report_html
    from edgesw.text.texts import load_texts
    from edgesw.text.tokenizer import Tokenizer
    from edgesw.validation.float_model import float_model
    from edgesw.validation.validate import validate

    manifest = read_manifest(package)
    name = package.resolve().name
    output = output or Path(f"{name}-report.html")
    check_writable_file(output, "choose another -o")
    if output.exists() and not force:
        raise UsageError(f"'{output}' exists: choose another -o, or replace it with --force.")
    with Bar() as bar:
        measured = validate(
            package, load_texts(text), against=against, count=windows, limits=limits(**most), progress=bar,
            details=True, other_model=other_model,
        )  # fmt: skip
        try:
            checkpoint = float_model(package, manifest, against, other_model)
            outliers = find_outliers(checkpoint, Tokenizer.from_folder(package, PackageError), bar)
            bar("Writing", output.name, 0, 1)
            page = report_html(name, manifest, measured, outliers)
            with staged(output) as (partial,):
                partial.write_text(page, encoding="utf-8", errors="backslashreplace")
        except (OSError, EdgeswError):  # the disk has filled up since, or so: what was measured is not lost
            print_report(str(package), measured)
            raise
    click.echo(f"{output}: {'passed' if measured.passed else 'FAILED'}")
    click.get_current_context().exit(0 if measured.passed else TOO_FAR)
