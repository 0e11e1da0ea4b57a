"""`edgesw report`: the page that people decide by."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tiny import SUPER_VALUE, assert_one_line, edgesw, unchanged

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
RED, GREEN, PLOT, MARK = "b3261e", "2a7f4f", "30638e", "d1495b"


@pytest.fixture(scope="module")
def page(tiny_llama: Path, tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "page.html"
    ran = edgesw("report", tiny_package, "--against", tiny_llama, "--windows", 3, "-o", path)
    assert ran.code == 0, ran.err
    assert ran.out == f"{path}: passed\n"
    return path


class Links(HTMLParser):
    """What a page loads, and its text."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe", "object")
        self.loaded += [value or "" for name, value in attributes if name in ("src", "href", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    """It is sent by mail, and opened where there is no network."""
    found = Links(page)
    assert len(found.loaded) == 4
    assert all(link.startswith("data:image/svg+xml;base64,") for link in found.loaded)
    assert "url(" not in page.read_text(encoding="utf-8")


def test_it_says_what_validate_says(page: Path, tiny_llama: Path, tiny_package: Path) -> None:
    ran = edgesw("validate", tiny_package, "--against", tiny_llama, "--windows", 3)
    text = Links(page).text
    for line in ran.out.splitlines()[2:]:
        target, _, perplexity, exact, increase, divergence, *_ = line.split()
        for figure in (target, perplexity, exact, increase, divergence):
            assert figure in text
    assert f"{SUPER_VALUE:.4f}" in text
    assert text.index("Passed") < text.index("Super weights") < text.index("Matrices") < text.index("Provenance")


def screenshot(page: Path, folder: Path) -> np.ndarray:
    """What a browser makes of it, uint8 (height, width, 3)."""
    from matplotlib.image import imread

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet),
            *(f"--user-data-dir={folder / 'profile'}", "--window-size=1100,4000"),
            *(f"--screenshot={folder / 'page.png'}", page.as_uri()),
        ],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    return (imread(folder / "page.png")[..., :3] * 255).round().astype(np.uint8)


def count(image: np.ndarray, color: str) -> int:
    """Pixels that are of a colour, nearly."""
    wanted = np.array([int(part, 16) for part in re.findall("..", color)])
    return int((np.abs(image.astype(int) - wanted).max(-1) < 12).sum())


def test_a_browser_draws_it(page: Path, tmp_path: Path) -> None:
    """A figure that is broken is an empty frame, and no other test sees it."""
    image = screenshot(page, tmp_path)
    assert count(image, GREEN) > 1000, "the verdict"
    assert count(image, RED) == 0
    assert count(image, PLOT) > 5000, "bars of a target, and the line of spikes"
    assert count(image, MARK) > 5000, "bars of the other target, and the super weight's mark"
    # The heat maps' least and largest colours.
    assert count(image, "440154") > 1000 and count(image, "fde725") > 1000


def test_a_package_that_fails_is_reported_as_failed(tiny_llama: Path, tmp_path: Path) -> None:
    """First of all people see the verdict; scripts see the exit code."""
    package = tmp_path / "<b>poor & bad"
    ran = edgesw("convert", tiny_llama, "--target", "onnx", "--bits", 2, "--calibrate", "none", "-o", package)
    assert ran.code == 0, ran.err
    words = ("--against", tiny_llama, "--windows", 1, "--max-perplexity-increase", 1, "-o", tmp_path / "page.html")
    ran = edgesw("report", package, *words)
    assert ran.code == 3
    assert ran.out.endswith(": FAILED\n")
    text = Links(tmp_path / "page.html").text
    assert "Failed" in text and "<b>poor & bad" in text, "names are text, whatever is in them"
    assert count(screenshot(tmp_path / "page.html", tmp_path), RED) > 1000
    with unchanged(tmp_path):
        assert_one_line(edgesw("report", package, *words), 2, "exists", "--force")
    words = ("--against", tiny_llama, "-o", tmp_path / "nowhere" / "page.html")
    assert_one_line(edgesw("report", package, *words), 2, "does not exist", "-o")
