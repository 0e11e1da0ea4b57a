"""StudyResult: the findings of an experiment, as a table that can be printed, saved and plotted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgesw.files.json_file import finite_or_none
from edgesw.system.sizes import counted

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the table: its key in the rows, its title, and the format spec of its figures."""

    key: str
    title: str
    format: str = ""

    def write(self, row: Row) -> str:
        """The figure of this column as text; empty if the row has none."""
        value = row.get(self.key)
        return "" if value is None else format(value, self.format)


# Columns of several experiments: the fields of `Measured`, and what follows from them.
PERPLEXITY = Column("perplexity", "perplexity", ",.2f")
INCREASE = Column("increase", "over float", "+,.1%")
ACCURACY = Column("accuracy", "next token right", ".1%")
AGREEMENT = Column("agreement", "top-1 as float", ".1%")


@dataclass(frozen=True)
class Findings:
    """The figures of one experiment, a row for each condition, with notes that are needed to read them."""

    columns: tuple[Column, ...]  # the first holds words, the others figures
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StudyResult:
    """The findings of an experiment, and the model and the text they were made on."""

    experiment: str
    title: str
    model: str
    origin: str
    revision: str | None
    text: str
    text_sha256: str
    windows: int
    tokens: int  # per window
    super_weights: tuple[tuple[int, int, int], ...]  # (layer, row, column)
    findings: Findings

    @property
    def measured_on(self) -> str:
        """The text and how much of it was read: `shipped validation text, 4 windows of 256 tokens`."""
        return f"{self.text}, {counted(self.windows, 'window')} of {self.tokens} tokens"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: a NaN or infinity becomes None."""
        return {
            "experiment": self.experiment,
            "title": self.title,
            "model": self.model,
            "origin": self.origin,
            "revision": self.revision,
            "text": self.text,
            "text_sha256": self.text_sha256,
            "windows": self.windows,
            "tokens_per_window": self.tokens,
            "super_weights": [list(coordinates) for coordinates in self.super_weights],
            "rows": finite_or_none(self.findings.rows),
            "notes": list(self.findings.notes),
        }
