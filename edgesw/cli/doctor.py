"""edgesw doctor"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgesw.cli.tables import print_json, print_table
from edgesw.errors import EdgeswError
from edgesw.system.sizes import format_size

if TYPE_CHECKING:
    from edgesw.conversion.doctor import Diagnosis
    from edgesw.conversion.requirements import ModelFit


@click.command()
@click.argument("model", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(ctx: click.Context, model: str | None, as_json: bool) -> None:
    """Show what can run on this machine, and whether a conversion of MODEL fits.

    Only the config of MODEL is read: nothing else is fetched from the hub.

    Exits with 1 when something that conversions need is missing, or when MODEL does not fit.
    """
    from edgesw.conversion.doctor import diagnose

    found = diagnose()
    fit: ModelFit | None = None
    failed: EdgeswError | None = None
    if model is not None and not found.to_do:  # without its libraries no conversion can be planned
        from edgesw.conversion.requirements import fit_model

        try:
            fit = fit_model(model, found)
        except EdgeswError as error:
            failed = error
    to_do = (*found.to_do, *(fit.to_do if fit else ()))
    if as_json:
        print_json({**asdict(found), "model": model, "fit": asdict(fit) if fit else None, "to_do": to_do})
    else:
        _print(found)
        if model is not None and fit is not None:
            click.echo()
            _print_fit(model, fit, found)
    if failed is not None:
        raise failed
    for line in to_do:
        click.echo(f"Error: {line}", err=True)
    ctx.exit(1 if to_do else 0)


def _print(found: Diagnosis) -> None:
    here = found.machine
    rows = [(finding.name, finding.what) for finding in found.findings]
    rows.insert(1, ("Python", str(here["python"])))
    rows += [(name, str(here[name])) for name in ("system", "processor", "cores")]
    rows.append(("memory", "not known" if found.memory_bytes is None else f"{format_size(found.memory_bytes)} free"))
    rows += [("disk", f"{format_size(size)} free in {folder}") for folder, size in found.disk_bytes.items()]
    width = max(len(name) for name, _ in rows)
    for name, what in rows:
        click.echo(f"{name:<{width}}  {what}")


def _print_fit(model: str, fit: ModelFit, found: Diagnosis) -> None:
    free = "not known" if found.memory_bytes is None else format_size(found.memory_bytes)
    rows = []
    for each in fit.targets:
        sizes = (each.memory_bytes, each.output_bytes)  # 0 where the target cannot have the model
        rows.append((each.target, each.verdict, *(format_size(size) if size else "" for size in sizes)))
    rows.append(("free", "", free, format_size(next(iter(found.disk_bytes.values())))))
    print_table(f"{model} ({fit.origin}), with the defaults", ("target", "verdict", "memory", "disk"), rows, left=2)
    if fit.fetch_bytes:
        click.echo(f"Its weights are not downloaded yet: about {format_size(fit.fetch_bytes)} to fetch from the hub.")
