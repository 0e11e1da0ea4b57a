"""Writes a validation's figures into the package: validation.json, and a table in the model card."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from edgesw.files.atomic_write import staged
from edgesw.files.checksums import sha256
from edgesw.files.json_file import json_text
from edgesw.package.manifest import MANIFEST, PackagedFile, read_manifest
from edgesw.validation.validate import ValidationReport

CARD, FIGURES = "README.md", "validation.json"
PLACE = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)
COLUMNS = ("target", "perplexity", "float", "increase", "KL divergence", "KL, 99th percentile", "top-1", "run by")


def record(package: Path, report: ValidationReport) -> None:
    """Writes both over earlier ones, and their checksums into the manifest. OSError if that fails."""
    manifest = read_manifest(package)
    card = (package / CARD).read_text(encoding="utf-8")
    text = PLACE.sub(lambda place: f"{place[1]}{_table(report)}\n{place[2]}", card)
    figures = json_text(report.to_dict()) + "\n"
    finals = [package / name for name in (CARD, FIGURES, MANIFEST)]
    with staged(*finals) as partial:
        files = dict(manifest.files)
        for name, path, content in zip((CARD, FIGURES), partial, (text, figures), strict=False):
            path.write_text(content, encoding="utf-8")
            files[name] = PackagedFile(sha256(path), path.stat().st_size)
        partial[-1].write_text(replace(manifest, files=dict(sorted(files.items()))).to_json(), encoding="utf-8")


def _table(report: ValidationReport) -> str:
    how = f"On {report.measured_on} of the {report.text}, compared with the float model:"
    rows = [
        (
            name,
            f"{result.perplexity:,.3f}",
            f"{result.float_perplexity:,.3f}",
            f"{result.increase:+.1%}",
            f"{result.kl_divergence:.4f}",
            f"{result.kl_99th:.3f}",
            f"{result.top1_agreement:.1%}",
            result.runtime,
        )
        for name, result in report.targets.items()
    ]
    lines = [" | ".join(row) for row in (COLUMNS, ("---",) * len(COLUMNS), *rows)]
    without = [
        f"Without what is held out, {name} has perplexity {result.perplexity:,.3f}, KL {result.kl_divergence:.4f}."
        for name, result in report.uncorrected.items()
    ]
    return "\n".join([how, "", *(f"| {line} |" for line in lines), *(["", *without] if without else [])])
