"""Measured rows of the quality table. A JSON file holds them, so that a long table can be made in pieces."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.lib.rows import Made, Row
from edgesw.validation.measure import Agreement

COLUMNS = ("decoder", "run by", "bits per weight", "perplexity", "over float", "KL, nats", "top-1")


@dataclass(frozen=True)
class Result:
    """One measured row; `bits` are stored bits per weight of the layers' matrices, None where none is compressed."""

    title: str
    note: str
    bits: float | None
    runtime: str
    perplexity: float
    float_perplexity: float
    kl_divergence: float  # mean KL(float || row), nats
    top1_agreement: float
    positions: int

    @classmethod
    def of(cls, row: Row, made: Made, agreement: Agreement) -> Result:
        shared = {field.name for field in fields(cls)} & {field.name for field in fields(agreement)}
        return cls(row.title, made.note, made.bits, **{name: getattr(agreement, name) for name in shared})

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed, under `COLUMNS`."""
        increase = self.perplexity / self.float_perplexity - 1
        return (
            self.title + self.note,
            self.runtime,
            "" if self.bits is None else f"{self.bits:.2f}",
            f"{self.perplexity:,.2f}" if self.perplexity < 1000 else f"{self.perplexity:,.0f}",
            f"{round(increase, 3) + 0.0:+.1%}" if increase < 10 else f"x {increase + 1:,.0f}",
            f"{self.kl_divergence:.4f}",
            f"{self.top1_agreement:.1%}",
        )


@dataclass(frozen=True)
class Measured:
    """The rows measured so far, by title, and what they were measured on: rows of equal `key` are comparable."""

    key: dict[str, Any]
    rows: dict[str, Result]

    def with_rows(self, results: Iterable[Result]) -> Measured:
        """These rows and more; a row that is measured again replaces the older one."""
        return Measured(self.key, {**self.rows, **{result.title: result for result in results}})

    def save(self, path: Path) -> None:
        rows = [asdict(result) for result in self.rows.values()]
        path.write_text(json.dumps({**self.key, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def measurement_key(model: str, origin: str, text_sha256: str, ids: np.ndarray) -> dict[str, Any]:
    """What rows must share to be in one table: the model, the text and the windows."""
    return {"model": model, "source": origin, "text_sha256": text_sha256, "windows": len(ids), "tokens": ids.shape[1]}


def load_measured(path: Path | None, key: dict[str, Any]) -> Measured:
    """The rows in a file, none where there is no file. Exits if they were measured on something else."""
    if path is None or not path.exists():
        return Measured(key, {})
    content = json.loads(path.read_text(encoding="utf-8"))
    rows = [Result(**row) for row in content.pop("rows")]
    if content != key:
        different = ", ".join(
            f"{name} {content.get(name)}, not {key[name]}" for name in key if content.get(name) != key[name]
        )
        sys.exit(f"Error: {path} was measured on {different}: name another file.")
    return Measured(key, {row.title: row for row in rows})
