"""The syntax of the demo's Swift sources, including those that only a Mac can compile."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "apps" / "ios-demo"


@pytest.mark.skipif(shutil.which("swiftc") is None, reason="swiftc is not installed: see scripts/swift-test.sh")
def test_every_source_parses() -> None:
    """SwiftUI and Core ML do not exist on Linux: otherwise a typo would be found only on a Mac."""
    folders = (DEMO / "EdgeSWDemo", DEMO / "EdgeSWKit" / "Sources", DEMO / "EdgeSWKit" / "Tests")
    sources = sorted(path for folder in folders for path in folder.rglob("*.swift"))
    assert len(sources) > 20
    ran = subprocess.run(
        ["swiftc", "-parse", "-swift-version", "6", *map(str, sources)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "error:" not in ran.stderr
