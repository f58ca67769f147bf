"""Pages hang together: links lead somewhere, code compiles, commands exist, reference pages are fresh."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import outdated
from flows.cli import app
from tests.docs.pages import PAGES, ROOT, Block, blocks, prose, title

_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_INLINE_COMMAND = re.compile(r"`(changeover [^`]*)`")
SHELL = blocks("sh")
PYTHON = blocks("python")


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page, made of its headings as GitHub makes them."""
    found = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=title)
def test_relative_links_lead_somewhere(page: Path) -> None:
    """To a file in the project, and to a heading in it."""
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_index() -> None:
    """A page that nothing links to is read by nobody."""
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(docs / "index.md"))}
    assert {page for page in PAGES if page.is_relative_to(docs)} - linked == {docs / "index.md"}


def test_the_reference_is_what_the_code_says() -> None:
    """Run `make docs` when this fails."""
    assert outdated() == []


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_runs(block: Block, tmp_path: Path) -> None:
    """It compiles, its imports are there, and its definitions can be made."""
    file = tmp_path / "example.py"
    file.write_text(block.text)
    assert list(ast.parse(block.text).body)
    # From a file, because Prefect reads the source of a flow.
    exec(compile(block.text, str(file), "exec"), {"__name__": "example", "__file__": str(file)})


def commands() -> Iterator[tuple[str, str]]:
    """Give every command of ours that a page names, and where."""
    for block in SHELL:
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            if line.startswith("changeover"):
                yield f"{title(block.page)}:{number}", line
    for page in PAGES:
        for found in _INLINE_COMMAND.findall(prose(page)):
            yield title(page), found


@pytest.mark.parametrize(("where", "line"), sorted(set(commands())))
def test_a_command_exists_with_its_options(where: str, line: str) -> None:
    """Group, command and long options; what stands for something of the reader's is not looked at."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    assert not hasattr(command, "commands"), f"{where}: no such command: {line}"
    known = {spelling for one in command.params for spelling in one.opts}
    assert [word for word in words if word.startswith("--") and word.partition("=")[0] not in known] == []


def test_blocks_are_of_known_languages() -> None:
    """A block in another language would be looked at by no test."""
    fences = re.compile(r"^```([^\n`]*)$", re.MULTILINE)
    used = {word.strip() for page in PAGES for word in fences.findall(page.read_text(encoding="utf-8"))}
    assert used <= {"", "sh", "sql", "yaml", "python", "toml", "json", "text", "mermaid", "console"}
