"""edgesw bench"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from edgesw.cli.param_types import Lengths
from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, print_table, warn
from edgesw.formats.coreml_layout import UNITS
from edgesw.system.sizes import counted, format_size


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--target", "targets", multiple=True, help="Only this target; repeatable.  [default: all that run here]")
@click.option(
    "--compute",
    "units",
    multiple=True,
    type=click.Choice(UNITS),
    help="Compute units for Core ML; repeatable, only on a Mac.  [default: the ones the package is built for]",
)
@click.option("--prompts", type=Lengths(), default=(64, 256), help="Prompt lengths in tokens.  [default: 64,256]")
@click.option(
    "--tokens", default=32, show_default=True, type=click.IntRange(1), help="Tokens to generate after each prompt."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the machine.")
def bench(
    package: Path,
    targets: tuple[str, ...],
    units: tuple[str, ...],
    prompts: tuple[int, ...],
    tokens: int,
    as_json: bool,
) -> None:
    """Measure how fast PACKAGE loads, reads prompts and generates tokens on this machine, and the memory it takes."""
    from edgesw.package.manifest import read_manifest
    from edgesw.package.publish import check_files
    from edgesw.system.machine import machine
    from edgesw.targets.registry import TARGETS, packaged_target
    from edgesw.validation.bench import Benched
    from edgesw.validation.bench import bench as run

    manifest = read_manifest(package)
    check_files(package, manifest)
    for target in targets:
        packaged_target(package, manifest, target)
    if units and not any(target.units and target.is_native() for target in TARGETS.values()):
        raise click.UsageError("--compute chooses among a Mac's compute units, and this is not a Mac: leave it out.")
    chosen = targets or tuple(name for name in manifest.models if name in TARGETS and TARGETS[name].is_native())
    if not chosen:
        raise click.UsageError(
            "no model of the package runs at its own speed here: --target coreml times edgesw's interpreter."
        )
    for name in chosen:
        if not TARGETS[name].is_native():
            title = TARGETS[name].title
            warn(f"there is no {title} here: its figures are edgesw's interpreter's and say nothing about a device.")
    done: list[Benched] = []
    with Bar() as bar:
        for target in chosen:
            bar("Timing", target, len(done), len(chosen))
            done += run(package, manifest, target, units, prompts, tokens)
    here = machine()
    cores = counted(int(here["cores"]), "core")
    if as_json:
        print_json({"package": str(package), "machine": here, "results": [asdict(each) for each in done]})
        return
    print_table(
        f"{package}: {counted(tokens, 'token')} after each prompt; {here['processor']}, {cores}",
        ("target", "runtime", "load, s", "memory", "prompt", "first token, s", "prefill, tokens/s", "decode, tokens/s"),
        [
            (
                each.title,
                each.runtime,
                f"{each.load_seconds:.2f}",
                format_size(each.peak_bytes),
                str(speed.prompt),
                f"{speed.first_token_seconds:.3f}",
                f"{speed.prefill_per_second:,.1f}",
                f"{speed.decode_per_second:,.1f}",
            )
            for each in done
            for speed in each.speeds
        ],
        left=2,
    )
    for each in done:
        if each.unit_shares is not None:
            shares = ", ".join(f"{unit} {share:.0%}" for unit, share in each.unit_shares.items())
            click.echo(f"{each.title}: operations on {shares}")
