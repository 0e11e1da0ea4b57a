"""edgesw compare"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesw.cli.progress import Bar
from edgesw.cli.shared_options import other_model_option, text_option, windows_option
from edgesw.cli.tables import inform, print_json, print_table
from edgesw.system.sizes import format_size

if TYPE_CHECKING:
    from edgesw.validation.compare import Compared


@click.command()
@click.argument("packages", nargs=-1, required=True, type=click.Path(path_type=Path))
@text_option
@click.option("--against", metavar="MODEL", help="The float model.  [default: the one the packages were made from]")
@other_model_option
@windows_option
@click.option("--no-speed", is_flag=True, help="Do not measure speed.")
@click.option(
    "--plot", type=click.Path(path_type=Path), metavar="FILE", help="Plot size and divergence into a .png or .svg file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def compare(
    packages: tuple[Path, ...],
    text: str | None,
    against: str | None,
    other_model: bool,
    windows: int | None,
    no_speed: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare PACKAGES of one model: size, bits, perplexity, KL divergence, speed."""
    from edgesw.report.plots import check_plot, save_plot
    from edgesw.report.tradeoff import Point, tradeoff_plot
    from edgesw.text.texts import load_texts
    from edgesw.validation.compare import compare as run

    if plot is not None:
        check_plot(plot)
    with Bar() as bar:
        found = run(
            list(packages), load_texts(text), against=against, count=windows, speed=not no_speed, progress=bar,
            other_model=other_model,
        )  # fmt: skip
    if as_json:
        print_json([each.to_dict() for each in found])
    else:
        _print(found, f"{text or 'shipped validation text'}, {found[0].agreement.positions:,} predicted tokens")
    if plot is not None:  # after the figures, which are not lost if the disk is full
        points = [Point(each.title, each.bytes, each.agreement.kl_divergence) for each in found]
        save_plot(tradeoff_plot(points), plot)
        inform(f"Wrote {plot}")


def _print(found: list[Compared], title: str) -> None:
    print_table(
        title,
        ("package", "target", "size", "bits", "perplexity", "increase", "KL", "top-1", "prefill/s", "decode/s"),
        [
            (
                each.package,
                each.target,
                format_size(each.bytes),
                f"{each.stored_bits:.2f}",
                f"{each.agreement.perplexity:,.3f}",
                f"{each.agreement.increase:+.1%}",
                f"{each.agreement.kl_divergence:.4f}",
                f"{each.agreement.top1_agreement:.1%}",
                "" if each.prefill_per_second is None else f"{each.prefill_per_second:,.0f}",
                "" if each.decode_per_second is None else f"{each.decode_per_second:,.1f}",
            )
            for each in found
        ],
        left=2,
    )
