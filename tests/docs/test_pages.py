"""Pages hang together: links lead somewhere, code compiles, commands exist, reference pages are fresh."""

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from docs.generate import outdated
from flows.cli import app
from profiles.loader import load
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


def commands_of_blocks() -> Iterator[tuple[str, str]]:
    """Give every command of ours that a page tells to type, and where."""
    for block in SHELL:
        for number, line in enumerate(block.text.splitlines(), block.line + 1):
            if line.startswith("changeover"):
                yield f"{title(block.page)}:{number}", line


def commands() -> Iterator[tuple[str, str]]:
    """Give every command of ours that a page names, and where."""
    yield from commands_of_blocks()
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


@pytest.mark.parametrize(("where", "line"), sorted(set(commands_of_blocks())))
def test_a_command_to_type_has_what_the_command_line_asks_for(where: str, line: str) -> None:
    """Every argument, every option with a value of its kind, and nothing else; nothing is carried out."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    command.make_context(where, words)


@pytest.mark.parametrize("page", [page for page in PAGES if page in {block.page for block in SHELL}], ids=title)
def test_a_migration_that_is_named_is_one_that_is_shown(page: Path) -> None:
    """By the page; or, where that shows none, by the tutorial."""
    pattern = r"^changeover (?:status|approve|hold|release|pause|resume|contract|rollback|report|waive) ([\w-]+)"
    named = {name for block in SHELL if block.page == page for name in re.findall(pattern, block.text, re.MULTILINE)}
    assert named <= (migrations(page) or migrations(ROOT / "docs" / "tutorial.md"))


def migrations(page: Path) -> set[str]:
    """Give the names of the migrations that a page shows."""
    found = [block.text for block in blocks("yaml") if block.page == page]
    return {name for text in found for name in re.findall(r"^migration: *([\w-]+)", text, re.MULTILINE)}


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_settings_are_those_of_a_profile(block: Block, tmp_path: Path) -> None:
    """What a page shows of a profile loads, and says what it seems to say."""
    wanted = tomllib.loads(block.text)
    surroundings = 'name = "here"\n' + ("" if "databases" in wanted else '[databases.main]\nurl_env = "HERE_URL"\n')
    (tmp_path / "here.toml").write_text(surroundings + block.text)
    loaded = load(tmp_path / "here.toml").model_dump(mode="json")
    for section, settings in wanted.items():
        for key, setting in settings.items():
            found = loaded[section][key]
            assert setting == (found if not isinstance(setting, dict) else {k: found[k] for k in setting})


def test_blocks_are_of_known_languages() -> None:
    """A block in another language would be looked at by no test."""
    fences = re.compile(r"^```([^\n`]*)$", re.MULTILINE)
    used = {word.strip() for page in PAGES for word in fences.findall(page.read_text(encoding="utf-8"))}
    assert used <= {"", "sh", "sql", "yaml", "python", "toml", "json", "text", "mermaid", "console"}
