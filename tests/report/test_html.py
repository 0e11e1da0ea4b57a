"""`edgesw report`: the page that people decide by."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
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
    assert len(ran.out.splitlines()[2:4]) == 2
    for line in ran.out.splitlines()[2:4]:
        target, _, perplexity, exact, increase, divergence, *_ = line.split()
        for figure in (target, perplexity, exact, increase, divergence):
            assert figure in text
    assert f"{SUPER_VALUE:.4f}" in text
    assert text.index("Passed") < text.index("Super weights") < text.index("Matrices") < text.index("Provenance")


def browse(page: Path, folder: Path, *options: str) -> str:
    """What a browser prints for a page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("there is no Chromium here")
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    ran = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--hide-scrollbars", *quiet),
            *(f"--user-data-dir={folder / 'profile'}", *options, page.as_uri()),
        ],
        capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    return ran.stdout.decode()


def screenshot(page: Path, folder: Path) -> np.ndarray:
    """What a browser makes of it, uint8 (height, width, 3)."""
    from matplotlib.image import imread

    browse(page, folder, "--window-size=1100,4000", f"--screenshot={folder / 'page.png'}")
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


MEASURE = """<!doctype html><body style="margin: 0">
<iframe style="width: {width}px; height: 3000px; border: 0" srcdoc="{page}"></iframe>
<script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument;
  const texts = [...page.querySelectorAll("h1, h2, h3, p, dd, li, .heat td, .heat th, .figures")];
  const cells = [...page.querySelectorAll(".heat td")];
  document.documentElement.textContent = JSON.stringify({{
    wide: page.documentElement.scrollWidth,
    cut: texts.filter(each => each.scrollWidth > each.clientWidth + 1).map(each => each.outerHTML),
    images: [...page.images].map(each => each.clientWidth / each.naturalWidth),
    fonts: cells.map(each => parseFloat(getComputedStyle(each).fontSize)),
  }});
}};
</script>"""


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_readable_on_phones_and_screens(page: Path, tmp_path: Path, width: int) -> None:
    """Nothing is cut off or pushes the page sideways, and what is in a figure is about as large as it was drawn."""
    frame = tmp_path / "frame.html"
    frame.write_text(MEASURE.format(width=width, page=html.escape(page.read_text(encoding="utf-8"))), encoding="utf-8")
    dumped = browse(frame, tmp_path, "--window-size=1300,3000", "--dump-dom")
    found = json.loads(html.unescape(re.sub("<[^>]*>", "", dumped)))
    assert found["wide"] == width and found["cut"] == []
    assert len(found["images"]) == 4 and all(0.8 < scale < 1.25 for scale in found["images"])
    assert len(found["fonts"]) == 2 * 14 and min(found["fonts"]) >= 12


def test_checksums_can_be_read_and_copied_whole(page: Path, tiny_package: Path) -> None:
    text = Links(page).text
    files = json.loads((tiny_package / "manifest.json").read_text())["files"]
    assert len(files) > 5
    for name, entry in files.items():
        assert name in text and entry["sha256"] in text


def test_a_package_that_fails_is_reported_as_failed(
    tiny_llama: Path, converted: Callable[..., Path], tmp_path: Path
) -> None:
    """First of all people see the verdict; scripts see the exit code."""
    package = tmp_path / "<b>poor & bad"
    shutil.copytree(converted("--target", "onnx", "--bits", 2, "--calibrate", "none"), package)
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
