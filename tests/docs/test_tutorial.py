"""The tutorial, as a reader does it: each block in its order."""

import shlex
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.forked import Forked
from tests.docs.pages import ROOT, blocks_of

TUTORIAL = ROOT / "docs" / "tutorial.md"


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(database: str, tmp_path: Path, forked: Forked) -> None:
    """SQL is executed, its assertions hold; specs are saved; every command ends well."""
    ran = []
    for block in blocks_of(TUTORIAL):
        if block.language == "sql":
            with psycopg.connect(database) as conn:
                conn.execute(block.text)  # type: ignore[arg-type]
        elif block.language == "yaml":
            name = block.text.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(block.text)
        elif block.language == "sh":
            ran += [command(line, database, tmp_path, forked) for line in block.text.splitlines() if "=" not in line]
    assert ran.count("run") == 2
    assert {"doctor", "plan", "status", "rollback", "contract"} <= set(ran)


def command(line: str, database: str, folder: Path, forked: Forked) -> str:
    """Run a command of ours in a folder, and return which it was."""
    program, *words = shlex.split(line)
    assert program == "changeover"
    done = forked.run(words, folder=folder, environment={"CHANGEOVER_URL": database})
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return words[0]
