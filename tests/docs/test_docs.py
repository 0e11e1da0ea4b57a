"""The pages that people read first: what they link to, quote and list exists."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edgesw.cli.program import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
MOST_LINES = 125
BLOCK = re.compile(r"^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`(?P<text>[^`]+)`")
PLACEHOLDERS = {"MODEL": "smollm2-135m", "PACKAGE": "package", "PATH": "package", "NAME": "name"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return BLOCK.sub("", text_of(page))


def slugs(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return anchors


def links(page: Path) -> Iterator[tuple[str, str]]:
    """(path, anchor) of every relative link."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def written_out() -> Iterator[tuple[str, str]]:
    """(page, command) of every `edgesw ...` line in a block of shell code."""
    for page in PAGES:
        for block in BLOCK.finditer(text_of(page)):
            for line in block["text"].replace("\\\n", " ").splitlines():
                line = line.removeprefix("$ ")
                if block["kind"] in ("sh", "console") and line.startswith("edgesw "):
                    yield page.name, line


def mentioned() -> Iterator[tuple[str, str]]:
    """(page, command) of every `edgesw ...` in running text, which may leave arguments out."""
    for page in PAGES:
        for span in SPAN.finditer(prose(page)):
            if re.match(r"edgesw [a-z]", span["text"]):
                yield page.name, " ".join(span["text"].replace("\\|", "|").split())


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words after `edgesw` call, and its arguments."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        with click.Context(command) as context:
            inner = command.get_command(context, words[0])
        assert inner is not None, f"there is no command '{words[0]}'"
        command, words = inner, words[1:]
    return command, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    """A reader who follows a dead link does not know whether the page was moved or never written."""
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        assert target.is_relative_to(ROOT), f"{page.name}: {path} leads outside the project"
        if anchor:
            assert anchor in slugs(target), f"{page.name}: {path}#{anchor}"


def test_a_missing_heading_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page's `name`, twice\n\n## Twice\n\n```sh\n# no heading\n```\n\n## Twice\n\n[a](b.md#c) [d](#e)\n"
    )
    assert slugs(page) == {"a-pages-name-twice", "twice", "twice-1"}
    assert list(links(page)) == [("b.md", "c"), ("", "e")]


def test_the_readme_is_short_and_links_to_what_it_leaves_out() -> None:
    """Who has ten minutes reads this page, and nothing else, to the end."""
    readme = ROOT / "README.md"
    assert len(text_of(readme).splitlines()) <= MOST_LINES
    linked = {path for path, _ in links(readme)}
    assert {"docs/index.md", "docs/api.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"} <= linked


def test_the_index_lists_every_page_once() -> None:
    listed = Counter(path for path, _ in links(ROOT / "docs" / "index.md") if "/" not in path)
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert listed == dict.fromkeys(pages, 1)


def test_every_command_that_is_written_out_parses() -> None:
    """A reader copies these: each must reach its command with options and values that exist. Nothing is run."""
    found = list(written_out())
    assert len([page for page, _ in found if page == "README.md"]) > 5, "the pattern no longer finds them"
    for page, line in found:
        words = [PLACEHOLDERS.get(word, word) for word in shlex.split(line, comments=True)[1:]]
        try:
            command, arguments = command_of(words)
            # With its parent: a command keeps the names of its help option from the first context that it is in.
            command.make_context(line, arguments, parent=click.Context(cli, **cli.context_settings))
        except (AssertionError, click.ClickException) as error:
            pytest.fail(f"{page}: {line}: {error}")


def test_every_option_that_is_mentioned_exists() -> None:
    found = list(mentioned())
    assert len(found) > 30, "the pattern no longer finds them"
    for page, line in found:
        command, arguments = command_of(re.split(r"[ =]", line)[1:])
        known = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h", "--version"}
        for word in arguments:
            assert not word.startswith("--") or word in known, f"{page}: {line}"


def test_every_target_of_make_that_is_quoted_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    for page in PAGES:
        code = [block["text"] for block in BLOCK.finditer(text_of(page))]
        code += [span["text"] for span in SPAN.finditer(prose(page))]
        for target in re.findall(r"^make ([a-z]+)", "\n".join(code), re.MULTILINE):
            assert target in targets, f"{page.name}: make {target}"


def test_the_layout_names_every_file_of_the_library() -> None:
    """A page that leaves files out, or names some that are gone, is no map."""
    architecture = text_of(ROOT / "docs" / "architecture.md")
    block = architecture.partition("\n## Layout\n")[2].partition("\n## ")[0]
    folders: list[str] = []
    named = set()
    for line in filter(None, block.splitlines()):
        depth, name = (len(line) - len(line.lstrip()) - 4) // 2, line.split()[0]
        folders[depth:] = [name] if name.endswith("/") else []
        named.add("".join(folders[: depth + 1]) if name.endswith("/") else "".join(folders[:depth]) + name)
    assert all((ROOT / name).exists() for name in named), [name for name in named if not (ROOT / name).exists()]
    tracked = subprocess.run(["git", "ls-files", "edgesw"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a clone")
    in_rooms = {path for path in tracked.stdout.split() if path.count("/") < 3}
    markers = {path for path in in_rooms if path.count("/") == 2 and path.endswith("/__init__.py")}
    missing = in_rooms - markers - {"edgesw/py.typed"} - named
    assert not missing, sorted(missing)
