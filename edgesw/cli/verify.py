"""edgesw verify"""

from __future__ import annotations

from pathlib import Path

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json
from edgesw.system.sizes import counted, format_size


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(package: Path, as_json: bool) -> None:
    """Check that all files of PACKAGE are there and unchanged, by size and SHA-256.

    Exits with 1 and names the file if one is missing, changed or extra.
    """
    from edgesw.package.manifest import read_manifest
    from edgesw.package.publish import check_files

    manifest = read_manifest(package)
    with Bar() as bar:
        check_files(package, manifest, contents=True, extra=True, progress=bar)
    count, size = len(manifest.files), sum(entry.bytes for entry in manifest.files.values())
    if as_json:
        print_json({"package": str(package), "verified": True, "files": count, "bytes": size})
    else:
        click.echo(f"{package}: {counted(count, 'file')}, {format_size(size)}: all unchanged.")
