"""The quality table as a whole: one command, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import quality
from edgesw.text.texts import shipped_text


@pytest.mark.slow
def test_ours_and_peers_stand_in_one_table(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the docs' figures could not be made again. Rows measured later join those in the file."""
    path, text = tmp_path / "rows.json", shipped_text("validation")
    quality.run(str(tiny_llama), text, 1, "all", ["edgesw", "RTN 4 bits, blocks of 32", "Q4_0"], path)
    quality.run(str(tiny_llama), text, 1, "peers", ["palettes 4 bits, per tensor"], path)
    table = capsys.readouterr().out.rpartition("SHA-256")[2]
    rows = {row["title"]: row for row in json.loads(path.read_text())["rows"]}
    assert all(title in table for title in rows)
    runtimes = {row["runtime"] for row in rows.values()}
    assert len(runtimes) == 3, "Core ML's, onnxruntime and the float decoder"
    assert any(title.endswith(": held out, compensated") for title in rows)
    assert rows["onnxruntime RTN 4 bits, blocks of 32"]["bits"] == 4.5  # a float16 scale in 32 weights
    assert rows["coremltools palettes 4 bits, per tensor"]["perplexity"] > 1
    assert {row["float_perplexity"] for row in rows.values()} == {
        rows["llama.cpp Q4_0 (blocks of 32)"]["float_perplexity"]
    }
