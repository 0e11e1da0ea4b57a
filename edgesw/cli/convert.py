"""edgesw convert"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import megabytes, print_json, print_table, warn
from edgesw.targets import TARGETS

if TYPE_CHECKING:
    from edgesw.compress.plan import MatrixPlan
    from edgesw.plans import Plans


@click.command()
@click.argument("model")
@click.option(
    "--target", "targets", multiple=True, required=True, type=click.Choice(tuple(TARGETS)), help="Format; repeatable."
)
@click.option(
    "--bits",
    default=4,
    show_default=True,
    type=click.IntRange(2, 8),
    help="Bits per weight. Where the format lacks a width, matrices of the next lower and higher are mixed.",
)
@click.option(
    "--scheme",
    type=click.Choice(("palette", "block")),
    help="Palettes (LUT) or block integers.  [default: block where the format has the width, else palette]",
)
@click.option(
    "--group-size",
    type=click.IntRange(0),
    help="Rows that share a palette (0: the whole matrix), or columns that share a scale.  [default: 16; 32]",
)
@click.option(
    "--context", default=0, type=click.IntRange(0), help="Tokens the cache holds.  [default: the model's, at most 2048]"
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output folder.  [default: NAME-BITSbit]")
@click.option("--no-hold-out", is_flag=True, help="Compress super weights and spiking columns like all others.")
@click.option("--force", is_flag=True, help="Replace an existing package.")
@click.option(
    "--dry-run", is_flag=True, help="Print the plan, the size it comes to and the memory it needs; write nothing."
)
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def convert(
    model: str,
    targets: tuple[str, ...],
    bits: int,
    scheme: str | None,
    group_size: int | None,
    context: int,
    output: Path | None,
    no_hold_out: bool,
    force: bool,
    dry_run: bool,
    revision: str | None,
    as_json: bool,
) -> None:
    """Compress MODEL and write a package for each target into one folder."""
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.checkpoint.source import plain_name
    from edgesw.convert import convert as run
    from edgesw.outliers.agreement import RecipeAgreement
    from edgesw.package import check_output
    from edgesw.plans import Settings, make_plans

    targets = tuple(dict.fromkeys(targets))
    settings = Settings(targets, bits, scheme, group_size, context, not no_hold_out)
    output = output or Path(f"{plain_name(model).lower().removesuffix('.gguf')}-{bits}bit")
    if not dry_run:
        check_output(output, force)  # before a model is fetched
    checkpoint = open_checkpoint(model, revision)
    plans = make_plans(checkpoint.spec, settings)
    if dry_run:
        _print_plans(model, plans, as_json)
        return
    with Bar() as bar:
        manifest = run(checkpoint, settings, output, force=force, progress=bar)
    agreement = RecipeAgreement.from_dict(manifest.agreement) if manifest.agreement else None
    if agreement is not None:
        warn(agreement.warning())
    if as_json:
        told = {"package": str(output), "manifest": str(output / "manifest.json"), "agreement": manifest.agreement}
        held_out = {key: getattr(manifest, key) for key in ("held_out", "held_out_columns", "correction_bytes")}
        print_json({**told, **held_out, "files": manifest.files})
        return
    for name, path in manifest.models.items():
        files = (entry["bytes"] for file, entry in manifest.files.items() if file.startswith(path))
        click.echo(f"{output / path}  {megabytes(sum(files))}  {manifest.settings['schemes'][name]}")
    if agreement is not None:
        click.echo(agreement.summary())
    held = [f"({w['layer']}, {w['row']}, {w['column']})" for w in manifest.held_out]
    columns = sum(map(len, manifest.held_out_columns.values()))
    if columns:
        held.append(f"{columns} whole column{'s' if columns > 1 else ''}")
    against = f" --against {shlex.quote(model)}" if checkpoint.source.is_local else ""
    click.echo(f"Held out: {', '.join(held) or 'nothing'}. Next: edgesw validate {shlex.quote(str(output))}{against}")


def _print_plans(model: str, plans: Plans, as_json: bool) -> None:
    rows = {name: _kinds(plan.matrices) for name, plan in plans.by_target.items()}
    if as_json:
        keys = ("matrices", "count", "scheme", "stored_bytes")
        print_json(
            {
                "model": model,
                "context": plans.context,
                "correction_bytes": plans.correction_bytes,
                "output_bytes": plans.output_bytes,
                "memory_bytes": plans.memory_bytes,
                "targets": {name: [dict(zip(keys, row, strict=True)) for row in kinds] for name, kinds in rows.items()},
            }
        )
        return
    for name, kinds in rows.items():
        table = [(kind, scheme, str(count), megabytes(size)) for kind, count, scheme, size in kinds]
        table.append(("", "", "", megabytes(plans.by_target[name].stored_bytes)))
        print_table(f"{model} for {name}", ("matrices", "scheme", "count", "size"), table, left=2)
        click.echo()
    if plans.hold_out:
        click.echo(f"Held-out columns: about {megabytes(plans.correction_bytes)}; which, calibration tells.")
    click.echo(f"Package: about {megabytes(plans.output_bytes)}. Peak memory: about {megabytes(plans.memory_bytes)}.")


def _kinds(matrices: tuple[MatrixPlan, ...]) -> list[tuple[str, int, str, int]]:
    """(kind, count, scheme, bytes) for each kind of matrix and scheme, in forward order."""
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for matrix in matrices:
        key = (matrix.name.rsplit(".", 1)[-1], str(matrix.scheme))
        count, size = totals.get(key, (0, 0))
        totals[key] = (count + 1, size + matrix.stored_bytes)
    return [(kind, count, scheme, size) for (kind, scheme), (count, size) in totals.items()]
