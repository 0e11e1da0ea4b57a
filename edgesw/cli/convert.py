"""edgesw convert"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgesw.calibration.effort import EFFORTS
from edgesw.cli.param_types import Bits, Chunks, Lengths, Size, TargetName
from edgesw.cli.plan_table import plan_rows, print_plans
from edgesw.cli.progress import Bar
from edgesw.cli.tables import print_json, warn
from edgesw.cli.validate import TOO_FAR, print_report
from edgesw.cli.verbosity import verbosity
from edgesw.formats.activation_quantization import RANGES
from edgesw.formats.coreml_layout import UNITS
from edgesw.system.sizes import counted, format_seconds, format_size

if TYPE_CHECKING:
    from edgesw.conversion.plans import Plans
    from edgesw.conversion.settings import Settings
    from edgesw.package.manifest import Manifest
    from edgesw.validation.validation_report import ValidationReport

MOST_HELD_OUT = 0.01  # far beyond it a scalar's ten bytes buy less than another bit for all


@click.command()
@click.argument("model")
@click.option("--target", "targets", multiple=True, required=True, type=TargetName(), help="Format; repeatable.")
@click.option(
    "--bits",
    type=Bits(),
    help="Code bits per weight of the layers, as 4 or 3.5. Where the format lacks a width, the widths it has are mixed "
    "by the sensitivity of each matrix.  [default: 4]",
)
@click.option(
    "--size", type=Size(), help="Bytes of weights per target instead of --bits, as 1.8GB or 900MiB: mixed precision."
)
@click.option(
    "--scheme",
    type=click.Choice(("palette", "block")),
    help="Palettes (LUT) or block integers.  [default: block where the format has the width, else palette]",
)
@click.option(
    "--group-size",
    type=click.IntRange(0),
    help="Rows that share a palette (0: the whole matrix), or columns that share a scale.  [default: 16 or 32]",
)
@click.option(
    "--portable",
    is_flag=True,
    help="ONNX: only operators of the standard, for runtimes other than onnxruntime; slower.",
)
@click.option(
    "--cluster-dim",
    type=click.Choice(("1", "2", "4")),
    default="1",
    show_default=True,
    help="Core ML: most values per palette entry. 2 and 4 are worth 0.1 to 0.4 bits and take longer to convert.",
)
@click.option(
    "--activations",
    type=click.Choice(("8",)),
    help="Quantize the inputs of the layers' matrices to 8 bits too (W8A8), with --bits 8.",
)
@click.option(
    "--ranges",
    type=click.Choice(RANGES),
    help="Granularity of 8-bit activations: a range for each token, for each call, or one measured in calibration.  "
    "[default: per-token; static for Core ML, which has no other]",
)
@click.option(
    "--embedding-bits",
    type=click.Choice(("4", "8")),
    default="8",
    show_default=True,
    help="Bits of the embedding and of the output head.",
)
@click.option(
    "--context", default=0, type=click.IntRange(0), help="Tokens the cache holds.  [default: the model's, at most 2048]"
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Output folder.  [default: NAME-BITSbit or NAME-SIZE]"
)
@click.option(
    "--calibrate",
    "calibration",
    metavar="default|FILE|none",
    default="default",
    show_default=True,
    help="Calibration text. default: the one that ships with edgesw; none: no calibration.",
)
@click.option(
    "--effort",
    type=click.Choice(EFFORTS),
    default="balanced",
    show_default=True,
    help="fast: errors are not compensated; balanced: they are, on 8 to 32 windows of the text; best: on all of it.",
)
@click.option(
    "--compute",
    type=click.Choice(UNITS),
    default="gpu",
    show_default=True,
    help="Core ML: the compute units to build for. gpu, cpu: any number of tokens per call; ane (the Neural Engine), "
    "all: palettes and functions of fixed lengths.",
)
@click.option(
    "--lengths",
    type=Lengths(),
    help="Core ML: numbers of tokens per call, as 1,64: a function each for ane and all, one for gpu and cpu.  "
    "[default: any number; 1,64 for ane and all]",
)
@click.option(
    "--chunks",
    type=Chunks(),
    default="1",
    show_default=True,
    metavar="N|auto",
    help="Core ML: split the layers into N packages; auto: at most 734 MB each, for iPhones.",
)
@click.option(
    "--ablation",
    is_flag=True,
    help="Core ML: add each function a second time without what is held out, over the same weights, to show its use.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Processes that compress matrices; only without error compensation (--effort fast).",
)
@click.option(
    "--no-hold-out",
    is_flag=True,
    help="Do not hold out super weights and outlier channels: compress them like all others.",
)
@click.option(
    "--hold-out-fraction",
    default=0.0,
    type=click.FloatRange(0, MOST_HELD_OUT),
    help="Share of each matrix's scalars to hold out as well, those with the largest error, as 1e-4.  [default: 0]",
)
@click.option(
    "--validate",
    "and_validate",
    is_flag=True,
    help="Then run `edgesw validate --record` on the package and use its exit code.",
)
@click.option("--force", is_flag=True, help="Replace an existing package.")
@click.option("--dry-run", is_flag=True, help="Print the plan, the size and the memory it needs; write nothing.")
@click.option("--revision", help="Branch, tag or commit on the hub.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def convert(
    model: str,
    output: Path | None,
    and_validate: bool,
    force: bool,
    dry_run: bool,
    revision: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Compress MODEL and write a package for each target into one folder."""
    import edgesw
    from edgesw.checkpoint.source import plain_name
    from edgesw.package.publish import leaves_cache
    from edgesw.report.measured import record

    settings = _settings(**flags)
    output = output or Path(f"{plain_name(model).removesuffix('.gguf')}-{_suffix(settings)}")
    if dry_run:
        _print_dry_run(model, _plans(model, revision, settings), as_json)
        return
    report, final = None, output.absolute()
    with Bar() as bar:

        def show(plans: Plans) -> None:
            with bar.paused():
                print_plans(model, plans, err=True)

        try:
            package = edgesw.convert(
                model, output, settings, revision=revision, force=force, progress=bar, decided=show
            )
        except BaseException:
            verbosity().resumes = leaves_cache(final)
            raise
        manifest = package.manifest
        is_local = manifest.source.origin.startswith("local")
        if and_validate:
            report = edgesw.validate(package, against=model if is_local else None, progress=bar)
    if manifest.agreement is not None:
        warn(manifest.agreement.warning())
    if as_json:
        _print_manifest(output, manifest, report)
    else:
        following = "" if report else f" Next: edgesw validate {shlex.quote(str(output))}"
        _print_package(output, manifest, following)
        if report is not None:
            print_report(str(output), report)
    if report is not None:
        record(final, report)
    click.get_current_context().exit(0 if report is None or report.passed else TOO_FAR)


def _plans(model: str, revision: str | None, settings: Settings) -> Plans:
    from edgesw.calibration.calibrate import calibration_text
    from edgesw.checkpoint.checkpoint import open_checkpoint
    from edgesw.conversion.plans import make_plans

    calibration_text(settings.calibration)
    return make_plans(open_checkpoint(model, revision).spec, settings)


def _settings(
    *,
    activations: str | None,
    ranges: str | None,
    compute: str,
    lengths: tuple[int, ...] | None,
    chunks: int,
    ablation: bool,
    portable: bool,
    no_hold_out: bool,
    cluster_dim: str,
    embedding_bits: str,
    targets: tuple[str, ...],
    **same: Any,
) -> Settings:
    """The settings that the options stand for; those called `same` have the same name and value in both."""
    from edgesw.conversion.settings import Settings
    from edgesw.targets.coreml import CoreMLOptions
    from edgesw.targets.onnx import OnnxOptions

    if ranges and not activations:
        raise click.UsageError("--ranges needs 8-bit activations: add --activations 8.")
    asked = {"coreml": CoreMLOptions(compute, lengths, chunks, ablation), "onnx": OnnxOptions(portable)}
    return Settings(
        targets,
        activations=(ranges or "") if activations else None,
        hold_out=not no_hold_out,
        cluster_dim=int(cluster_dim),
        embedding_bits=int(embedding_bits),
        options=asked,
        **same,
    )


def _print_manifest(output: Path, manifest: Manifest, report: ValidationReport | None) -> None:
    values = manifest.to_dict()
    told = {"package": str(output), "manifest": str(output / "manifest.json")}
    picked = ("agreement", "models", "super_weights", "held_out_columns", "correction_bytes", "files")
    measured = {} if report is None else {"validation": report.to_dict()}
    print_json({**told, **{key: values[key] for key in picked}, **measured})


def _print_package(output: Path, manifest: Manifest, following: str) -> None:
    for name, model in manifest.models.items():
        click.echo(f"{output / model.path}  {format_size(manifest.model_bytes(name))}  {model.scheme}")
    if manifest.agreement is not None:
        click.echo(manifest.agreement.summary())
    held = [str(weight.coordinates) for weight in manifest.super_weights]
    columns = sum(map(len, manifest.held_out_columns.values()))
    if columns:
        held.append(counted(columns, "whole column"))
    if manifest.settings.hold_out_fraction:
        held.append(f"{manifest.settings.hold_out_fraction:g} of the other scalars")
    click.echo(f"Held out: {', '.join(held) or 'nothing'}.{following}")


def _print_dry_run(model: str, plans: Plans, as_json: bool) -> None:
    from edgesw.calibration.calibrate import calibration_text
    from edgesw.conversion.duration import processor_seconds

    seconds = processor_seconds(plans, calibration_text(plans.settings.calibration))
    if as_json:
        by_target = plans.compressions.items()
        print_json(
            {
                "model": model,
                "context": plans.context,
                "correction_bytes": plans.correction_bytes,
                "output_bytes": plans.output_bytes,
                "memory_bytes": plans.memory_bytes,
                "processor_seconds": round(seconds),
                "to_be_measured": plans.mixed,
                "code_bits": {name: plan.code_bits for name, plan in by_target},
                "stored_bits": {name: plan.stored_bits for name, plan in by_target},
                "targets": {name: plan_rows(plan) for name, plan in by_target},
            }
        )
        return
    print_plans(model, plans)
    if plans.mixed:
        click.echo("The conversion measures which matrix gets which width; the total is what was asked for.")
    if plans.settings.hold_out:
        click.echo(f"Held out: about {format_size(plans.correction_bytes)}; calibration decides which columns.")
    click.echo(
        f"Package: about {format_size(plans.output_bytes)}. Peak memory: about {format_size(plans.memory_bytes)}. "
        f"Processor time: about {format_seconds(seconds)}."
    )


def _suffix(settings: Settings) -> str:
    """What a package's name says of its size: `4bit`, `3.5bit`, `1.8GB`."""
    if settings.size is None:
        return f"{settings.code_bits:g}bit"
    return f"{settings.size / 1e9:.4g}GB" if settings.size >= 10**9 else f"{settings.size / 1e6:.4g}MB"
