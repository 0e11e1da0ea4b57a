"""edgesw inspect"""

from __future__ import annotations

from pathlib import Path

import click

from edgesw.cli.tables import print_json


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON: every weight, layer by layer.")
def inspect(path: Path, as_json: bool) -> None:
    """Show the contents of PATH, matrix by matrix: a package, any .mlpackage or any .onnx file, made by any tool.

    Sizes come from headers: weights are not read.
    """
    from edgesw.cli.inspect_table import print_found
    from edgesw.targets.inspection import inspect as run

    inspection = run(path)
    if as_json:
        print_json(inspection.to_dict())
        return
    for number, found in enumerate(inspection.models):
        if number:
            click.echo()
        print_found(found)
