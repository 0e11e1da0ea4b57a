"""edgesw demo-app"""

from __future__ import annotations

from pathlib import Path

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json
from edgesw.system.sizes import counted, format_size


@click.command("demo-app")
@click.argument("package", type=click.Path(path_type=Path))
@click.option(
    "--app",
    type=click.Path(path_type=Path),
    help="Folder of the iOS demo.  [default: ./apps/ios-demo]",
)
@click.option("--force", is_flag=True, help="Replace a package of the same name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def demo_app(package: Path, app: Path | None, force: bool, as_json: bool) -> None:
    """Copy the Core ML model of PACKAGE into the iOS demo app, where Xcode builds it in.

    Checks the package first, and prints the next steps in Xcode.
    """
    from edgesw.package.demo_app import APP, copy_into_app

    with Bar() as bar:
        copied = copy_into_app(package, app or APP, force=force, progress=bar)
    steps = (
        f"open {copied.project} (a Mac with Xcode 16 or later)",
        "choose your team under Signing & Capabilities; run it on your iPhone, iPad or Mac",
    )
    if as_json:
        print_json({"package": str(copied.folder), "files": copied.files, "bytes": copied.size, "next": list(steps)})
        return
    click.echo(f"{copied.folder}: {counted(copied.files, 'file')}, {format_size(copied.size)}.")
    for number, step in enumerate(steps, 1):
        click.echo(f"{number}. {step}")
