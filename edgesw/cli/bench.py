"""edgesw bench"""

from __future__ import annotations

import sys
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
    help="Core ML on these units; repeatable, only on a Mac.  [default: what the package is made for]",
)
@click.option("--prompts", type=Lengths(), default=(64, 256), help="Lengths of prompts, in tokens.  [default: 64,256]")
@click.option("--tokens", default=32, show_default=True, type=click.IntRange(1), help="Tokens to write after each.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the machine's name.")
def bench(
    package: Path,
    targets: tuple[str, ...],
    units: tuple[str, ...],
    prompts: tuple[int, ...],
    tokens: int,
    as_json: bool,
) -> None:
    """How fast PACKAGE loads, reads prompts and writes tokens on this machine, and what memory it takes."""
    from edgesw.package.package import check_files, read_manifest
    from edgesw.system.machine import machine
    from edgesw.targets.targets import TARGETS, check_target
    from edgesw.validate.bench import Benched
    from edgesw.validate.bench import bench as run

    manifest = read_manifest(package)
    check_files(package, manifest)
    for target in targets:
        check_target(package, manifest, target)
    mac = sys.platform == "darwin"
    if units and not mac:
        raise click.UsageError("--compute chooses among a Mac's units, and this is none: leave it out.")
    chosen = targets or tuple(name for name in manifest.models if mac or not TARGETS[name].has_forms)
    if not chosen:
        raise click.UsageError(
            "nothing in the package runs at its own speed here: --target coreml times our interpreter."
        )
    if any(TARGETS[name].has_forms for name in chosen) and not mac:
        warn("there is no Core ML here: its figures are our interpreter's, and say nothing of a device's.")
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
