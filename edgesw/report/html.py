"""The report of a package: one HTML file with all that speaks for it or against it."""

from __future__ import annotations

from dataclasses import asdict

from jinja2 import Environment, PackageLoader, StrictUndefined

from edgesw.outliers.results import SuperOutliers
from edgesw.package.manifest import Manifest
from edgesw.report.figures import data_uri, heat_map, windows_plot
from edgesw.report.plots import detection_plot
from edgesw.validation.validate import ValidationReport


def report_html(name: str, manifest: Manifest, report: ValidationReport, outliers: SuperOutliers) -> str:
    """A page that needs nothing beside it and no network. `report` has details."""
    template = Environment(
        loader=PackageLoader("edgesw.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=True,  # names, texts and samples are others' words
    ).get_template("report.html")
    return template.render(
        name=name,
        manifest=manifest,
        settings=asdict(manifest.settings),
        report=report,
        outliers=outliers,
        spikes=data_uri(detection_plot(outliers, manifest.source.name)),
        heat_maps={target: data_uri(heat_map(report, manifest, target)) for target in report.sizes},
        per_window=data_uri(windows_plot(report)),
        columns=sum(map(len, manifest.held_out_columns.values())),
    )
