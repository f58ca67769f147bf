"""The pages of the documentation, and the blocks of code in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
_BLOCK = re.compile(r"^```([a-z]+)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block of code of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{title(self.page)}:{self.line}"


def title(page: Path) -> str:
    """Name a page by its path in the project."""
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(page=page, line=text.count("\n", 0, found.start()) + 1, language=found[1], text=found[2])
        for found in _BLOCK.finditer(text)
    ]


def blocks(language: str) -> list[Block]:
    """Return all blocks of a language."""
    return [block for page in PAGES for block in blocks_of(page) if block.language == language]
