"""The report of a package: one HTML file with everything that speaks for it or against it."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesw.outliers.results import SuperOutliers
from edgesw.package.manifest import Manifest
from edgesw.report.figures import data_uri, peak_plots, window_plots
from edgesw.report.heat_map import heat_map
from edgesw.report.provenance import held_out, provenance
from edgesw.system.sizes import counted, format_size
from edgesw.validation.validation_report import ValidationReport


def report_html(name: str, manifest: Manifest, report: ValidationReport, outliers: SuperOutliers) -> str:
    """A page that needs no other file and no network. `report` must have details."""
    template = Environment(
        loader=PackageLoader("edgesw.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,  # names, texts and samples were written by others
    ).get_template("report.html")
    return template.render(
        name=name,
        manifest=manifest,
        report=report,
        verdicts={target: report.verdict(target) for target in report.targets},
        held_out=held_out(manifest),
        effects=[scalar for scalar in (*outliers.super_weights, *outliers.influential) if scalar.text],
        peaks=[data_uri(figure) for figure in peak_plots(outliers)],
        heat_maps={target: heat_map(report.matrices, manifest, target) for target in report.sizes},
        windows=[data_uri(figure) for figure in window_plots(report)],
        provenance=provenance(manifest),
        counted=counted,
        format_size=format_size,
    )
