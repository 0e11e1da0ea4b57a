"""edgesw detect"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgesw.cli.progress import Bar
from edgesw.cli.tables import inform, print_json, print_table, warn
from edgesw.decoder.names import TensorName
from edgesw.errors import EdgeswError, UsageError

if TYPE_CHECKING:
    from edgesw.outliers.detection import Detection
    from edgesw.outliers.results import Scalar, SuperActivation, SuperOutliers

MOST_COLUMNS = 12


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--fast", is_flag=True, help="By magnitude alone: do not measure the effect of zeroing each candidate.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the largest activations by layer: .png or .svg.")
@click.option(
    "--write-recipe", "recipe_path", type=click.Path(path_type=Path), help="Write a recipe to this new NAME.yaml."
)
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: an object, or a list for several models.")
@click.pass_context
def detect(
    ctx: click.Context,
    models: tuple[str, ...],
    fast: bool,
    plot: Path | None,
    recipe_path: Path | None,
    revision: str | None,
    as_json: bool,
) -> None:
    """Find the super weights and super activations of one or more models.

    Streams the model layer by layer through forward passes over one short prompt. Zeroes the scalar that causes a super
    activation and repeats until no super activation is left. Then measures how much zeroing each candidate changes the
    next-token distribution, compared with as many of the largest ordinary scalars of the same matrix. Those that matter
    there are measured on a text too, begun as the tokenizer begins one and as a user message in the chat template: what
    perplexity becomes without them says whether they are super weights, influential scalars or inert.

    Of several models, one that fails is a line on stderr; the others are still reported, and the exit code is 1.
    """
    from edgesw.outliers.recipe_file import check_recipe_path
    from edgesw.report.plots import check_plot

    if len(models) > 1 and (plot is not None or recipe_path is not None or revision is not None):
        raise UsageError("--plot, --write-recipe and --revision are for one model: give one MODEL with them.")
    if plot is not None:
        check_plot(plot)
    if recipe_path is not None:
        check_recipe_path(recipe_path)  # before a model is fetched
    if len(models) == 1:
        _detect(models[0], fast, plot, recipe_path, revision, as_json)
    elif not _detect_each(models, fast, as_json):
        ctx.exit(EdgeswError.exit_code)


def _detect(
    model: str, fast: bool, plot: Path | None, recipe_path: Path | None, revision: str | None, as_json: bool
) -> None:
    from edgesw.outliers.detect import PROMPT
    from edgesw.outliers.recipe_file import measured_recipe, write_recipe
    from edgesw.report.plots import detection_plot, save_plot

    detection = _found(model, fast, revision)
    source, found = detection.source, detection.outliers
    if as_json:
        print_json(detection.to_dict())
    else:
        _print(model, detection)
    if plot is not None:  # after the findings, which are not lost if the disk is full
        save_plot(detection_plot(found, source.name if source.hub_id else Path(source.name).name), plot)
        inform(f"Wrote {plot}")
    if recipe_path is not None:
        write_recipe(recipe_path, measured_recipe(recipe_path.stem, source, found, PROMPT))
        inform(f"Wrote {recipe_path}")


def _detect_each(models: Sequence[str], fast: bool, as_json: bool) -> bool:
    """Reports every model that can be, and says whether all could."""
    listed, failed = [], False
    for number, model in enumerate(models):
        try:
            detection = _found(model, fast)
        except EdgeswError as error:
            failed = True
            click.echo(f"Error: {model}: {error}", err=True)
            listed.append({"model": model, "error": str(error)})
            continue
        if as_json:
            listed.append(detection.to_dict())
        else:
            click.echo("\n" if number else "", nl=False)
            _print(model, detection)
    if as_json:
        print_json(listed)
    return not failed


def _found(model: str, fast: bool, revision: str | None = None) -> Detection:
    """Runs detection, and warns where the recipe says otherwise."""
    import edgesw

    with Bar() as bar:
        detection = edgesw.detect(model, revision=revision, confirm=not fast, progress=bar)
    if detection.agreement is not None:
        warn(detection.agreement.warning())
    return detection


def _print(model: str, detection: Detection) -> None:
    found = detection.outliers
    click.echo(f"{model} ({detection.source.origin})\n")
    _print_super_weights(found)
    if detection.agreement is not None:
        click.echo(detection.agreement.summary())
    _print_super_activations(found)
    _print_columns(found)
    _print_influential(found)
    _print_ruled_out(found)
    _print_peaks(found)


def _print_super_weights(found: SuperOutliers) -> None:
    if not found.confirmed:
        click.echo("Not confirmed (--fast): by magnitude alone, without measuring effects.\n")
    if not found.super_weights:
        click.echo("No super weights found.")
    else:
        heads = ["layer", "row", "column", "value", "input spike", "output spike"]
        rows = [[*_place(w), *(f"{v:,.3f}" for v in (w.input_spike, w.output_spike))] for w in found.super_weights]
        if found.confirmed:
            heads += ["KL alone", "KL all", "KL null", "margin"]
            rows = [[*row, *_effect(w)] for row, w in zip(rows, found.super_weights, strict=True)]
        print_table("Super weights: layers[layer].mlp.down_proj.weight[row, column]", heads, rows, left=0)
        if found.confirmed:
            click.echo("KL in nats: with this one, all, or as many of the largest ordinary scalars (null) zeroed.")
            click.echo("Margin: the effect relative to that of ordinary scalars, alone or in addition to the others.")
            _print_without(found.super_weights)
    for check in found.first_token:
        if not check.same:
            for places, what in ((check.missing, "causes no super activation"), (check.others, "causes one too")):
                for place in places:
                    click.echo(f"Depends on the first token: {check.prompt} {list(place)} {what}.")
    if found.super_weights and found.first_token and not found.depends_on_first_token:
        click.echo(f"Same super weights for the prompt {' and '.join(check.prompt for check in found.first_token)}.")


def _print_without(scalars: Sequence[Scalar]) -> None:
    """What a text becomes without each of these, in words."""
    for scalar in scalars:
        if scalar.text:
            click.echo(f"{scalar.coordinates}: {scalar.without_it()}.")


def _print_influential(found: SuperOutliers) -> None:
    if found.influential:
        click.echo("\nInfluential scalars: their loss has a clear effect, and does not destroy the model")
        _print_without(found.influential)


def _print_super_activations(found: SuperOutliers) -> None:
    if not found.super_activations:
        return
    click.echo()
    print_table(
        "Super activations: channels of the residual stream",
        ("channel", "token", "magnitude", "after layers", "caused by"),
        [
            (
                str(a.channel),
                ", ".join(map(str, a.tokens)),
                f"{a.magnitude:,.1f}",
                f"{a.first_layer} to {a.last_layer}",
                _cause(a, found),
            )
            for a in found.super_activations
        ],
        left=0,
    )


def _cause(activation: SuperActivation, found: SuperOutliers) -> str:
    if activation.from_super_weight:
        return "super weight"
    known = [s for s in found.influential if (s.layer, s.row) == (activation.first_layer, activation.channel)]
    return "influential scalar" if known else "no single scalar"


def _print_columns(found: SuperOutliers) -> None:
    """Prints the strongest. Matrices that read the same tensor share a line."""
    lines: dict[tuple[int, int, float, int], tuple[float, list[str]]] = {}
    for spike in found.outlier_channels:
        name = TensorName.parse(spike.matrix)
        assert name.layer is not None
        line = lines.setdefault((name.layer, spike.column, spike.input, spike.token), (spike.times_mean, []))
        line[1].append(name.kind)
    if not lines:
        return
    strongest = sorted(lines.items(), key=lambda line: -line[1][0])[:MOST_COLUMNS]
    click.echo()
    print_table(
        f"Outlier channels: {len(found.outlier_channels)}, the strongest",
        ("layer", "matrices", "column", "input", "token", "times the mean square"),
        [
            (str(layer), ", ".join(kinds), str(column), f"{largest:,.1f}", str(token), f"{times:,.0f}")
            for (layer, column, largest, token), (times, kinds) in sorted(strongest)
        ],
        left=2,
    )


def _print_ruled_out(found: SuperOutliers) -> None:
    listed: list[tuple[Scalar, str]] = [(scalar, "cancels a super activation") for scalar in found.cancelling]
    listed += [(scalar, scalar.why) for scalar in found.rejected]
    if not listed:
        return
    heads: Sequence[str] = ("why", "layer", "row", "column", "value", *(("KL alone", "is") if found.confirmed else ()))
    rows = [
        (text, *_place(scalar), *((f"{scalar.effect.alone:.4f}", scalar.kind) if scalar.effect else ()))
        for scalar, text in listed
    ]
    click.echo()
    print_table("Candidates that are not super weights", heads, rows)


def _print_peaks(found: SuperOutliers) -> None:
    click.echo()
    print_table(
        "Largest magnitudes by layer, and the scalar that causes the largest change of the residual stream",
        ("layer", "down_proj input", "token", "column", "output", "token", "row", "residual", "candidate"),
        [
            (
                *(str(peak.layer), f"{peak.input:,.2f}", str(peak.input_token), str(peak.input_column)),
                *(f"{peak.output:,.2f}", str(peak.output_token), str(peak.output_row), f"{peak.residual:,.1f}"),
                str(list(peak.candidate[1:])),
            )
            for peak in found.peaks
        ],
        left=0,
    )


def _place(scalar: Scalar) -> tuple[str, str, str, str]:
    return str(scalar.layer), str(scalar.row), str(scalar.column), f"{scalar.value:,.3f}"


def _effect(scalar: Scalar) -> tuple[str, str, str, str]:
    assert scalar.effect is not None
    effect = scalar.effect
    return f"{effect.alone:.3f}", f"{effect.joint:.3f}", f"{effect.null:.3f}", f"{effect.margin:,.0f}"
