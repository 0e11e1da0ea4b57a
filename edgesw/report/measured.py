"""Writes a validation's figures into the package: validation.json, and a table in the model card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgesw.errors import PackageError
from edgesw.files.atomic_write import staged
from edgesw.files.checksums import sha256
from edgesw.files.json_file import json_text
from edgesw.files.writable import check_writable_file
from edgesw.package.manifest import MANIFEST, Manifest, PackagedFile, read_manifest
from edgesw.validation.validation_report import ValidationReport

CARD, FIGURES = "README.md", "validation.json"
BEGIN, END = "<!-- measured -->\n", "<!-- /measured -->"
LONGEST_CARD = 1 << 20
"""Bytes of a model card; those that a conversion writes have thousands."""
COLUMNS = ("target", "perplexity", "float", "increase", "KL divergence", "KL, 99th percentile", "top-1", "run by")


def record(package: Path, report: ValidationReport) -> None:
    """Writes both over earlier ones, and their checksums into the manifest. PackageError where the model card is
    damaged, OSError if the files cannot be written."""
    manifest = read_manifest(package)
    card = _card(package, manifest)
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    text = f"{before}{begin}{_table(report)}\n{end}{after}" if end else card
    figures = json_text(report.to_dict()) + "\n"
    finals = [package / name for name in (CARD, FIGURES, MANIFEST)]
    with staged(*finals) as partial:
        files = dict(manifest.files)
        for name, path, content in zip((CARD, FIGURES), partial, (text, figures), strict=False):
            path.write_text(content, encoding="utf-8", errors="backslashreplace")
            files[name] = PackagedFile(sha256(path), path.stat().st_size)
        partial[-1].write_text(replace(manifest, files=dict(sorted(files.items()))).to_json(), encoding="utf-8")


def check_record(package: Path) -> None:
    """What `record` would raise for this package, before anything is measured. UsageError where the package cannot be
    written to."""
    _card(package, read_manifest(package))
    for name in (CARD, FIGURES, MANIFEST):
        check_writable_file(package / name, "copy the package elsewhere, or leave out --record")


def _card(package: Path, manifest: Manifest) -> str:
    """The text of the model card. A link could have brought any file of this machine into the package."""
    path = package / CARD
    if CARD not in manifest.files or path.is_symlink() or not path.is_file():
        raise PackageError(f"{path} is not the model card of the package's manifest: convert again.")
    if path.stat().st_size > LONGEST_CARD:
        raise PackageError(f"{path} has {path.stat().st_size} bytes, more than a model card: convert again.")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise PackageError(f"{path} is damaged (it is not UTF-8): convert again.") from error


def _table(report: ValidationReport) -> str:
    how = f"On {report.measured_on} of the {report.text}, compared with the float model:"
    rows = [(name, *result.cells[:-1], result.runtime) for name, result in report.targets.items()]
    lines = [" | ".join(row) for row in (COLUMNS, ("---",) * len(COLUMNS), *rows)]
    by_kind = [
        f"By kind of text, {name}: "
        + ", ".join(f"{kind} {one.kl_divergence:.3f}" for kind, one in result.kinds.items())
        for name, result in report.targets.items()
        if result.kinds
    ]
    without = [
        f"Without what is held out, {name} has perplexity {result.perplexity:,.3f}, KL {result.kl_divergence:.4f}."
        for name, result in report.uncorrected.items()
    ]
    return "\n".join(
        [
            how,
            "",
            *(f"| {line} |" for line in lines),
            *(["", *by_kind] if by_kind else []),
            *(["", *without] if without else []),
        ]
    )
