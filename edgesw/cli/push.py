"""edgesw push"""

from __future__ import annotations

from pathlib import Path

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, print_table
from edgesw.system.sizes import format_size


@click.command()
@click.argument("package", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option("--private", is_flag=True, help="Make the repository private if it does not exist yet.")
@click.option("--dry-run", is_flag=True, help="Check the package and list what would be uploaded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(package: Path, repo: str, private: bool, dry_run: bool, as_json: bool) -> None:
    """Upload PACKAGE to the Hugging Face hub as REPO (OWNER/NAME). Its model card becomes the repository's."""
    from edgesw.package.push import files_to_push
    from edgesw.package.push import push as run

    if dry_run:
        _, sizes = files_to_push(package, repo)
        if as_json:
            print_json({"repo": repo, "files": sizes})
        else:
            rows = [(name, format_size(size)) for name, size in sizes.items()]
            print_table(
                f"Would be uploaded to {repo}", ("file", "size"), [*rows, ("", format_size(sum(sizes.values())))]
            )
        return
    with Bar() as bar:
        url = run(package, repo, private=private, progress=bar)
    if as_json:
        print_json({"repo": repo, "commit": url})
    else:
        click.echo(url)
