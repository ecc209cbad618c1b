"""The Python blocks of the README and of docs/ run, and print what the block after them shows.

The blocks of one page run one after the other in one process. A ```text block right after a Python block is
what that block prints; three dots stand for anything.
"""

import doctest
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from repository import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<output>.*?)^```$)?", re.M | re.S)
SEPARATOR = "--- end of block ---"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True)
class Block:
    """A Python block: the line of the page on which it starts, its text, and what it prints, if shown."""

    line: int
    code: str
    output: str | None


def blocks(text):
    return [Block(text.count("\n", 0, m.start()) + 2, m["code"], m["output"]) for m in BLOCK.finditer(text)]


def as_program(page_blocks):
    """One program of all blocks, each on its lines of the page, so that tracebacks tell the place."""
    lines = []
    for block in page_blocks:
        lines += [""] * (block.line - 1 - len(lines))
        lines += [*block.code.splitlines(), f"print({SEPARATOR!r})"]
    return "\n".join(lines)


def printed(page_blocks, folder):
    script = folder / "page.py"
    script.write_text(as_program(page_blocks), encoding="utf-8")
    command = [sys.executable, "-X", "utf8", "-W", "error", script.name]
    result = subprocess.run(command, cwd=folder, capture_output=True, encoding="utf-8", timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout.split(SEPARATOR + "\n")


def check_page(text, folder):
    page_blocks = blocks(text)
    for block, got in zip(page_blocks, printed(page_blocks, folder), strict=False):
        if block.output is not None:
            matches = doctest.OutputChecker().check_output(block.output, got, FLAGS)
            assert matches, f"line {block.line}: the page shows\n{block.output}\nit prints\n{got}"


def name(page):
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page(page, tmp_path):
    text = page.read_text(encoding="utf-8")
    assert text.count("```python") == len(blocks(text)), "a Python block is not closed"
    check_page(text, tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_a_page_that_shows_other_output_fails(tmp_path):
    page = "```python\nx = 1 + 1\n```\n\n```python\nprint(x)\n```\n\n```text\n{}\n```\n"
    check_page(page.format("2"), tmp_path)
    with pytest.raises(AssertionError, match="line 6"):
        check_page(page.format("3"), tmp_path)
