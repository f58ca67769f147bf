"""The flow that the documentation composes is a strategy like ours: it can be contracted and rolled back."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import psycopg
import pytest

from tasks.model.status import MigrationState, Report
from tests.docs.pages import ROOT, blocks_of

SPEC = """
migration: first-name
operations:
  - add_column:
      table: people
      column: {name: first_name, type: text}
      up: split_part(full_name, ' ', 1)
"""


@pytest.fixture
def composed(tmp_path: Path) -> Callable[[str, str], Report]:
    """The first flow of the page, from a file of its own."""
    page = ROOT / "docs" / "how-to" / "compose-flows.md"
    text = next(block.text for block in blocks_of(page) if block.language == "python")
    file = tmp_path / "approved_first.py"
    file.write_text(text)
    module = ModuleType("approved_first")
    module.__file__ = str(file)
    exec(compile(text, str(file), "exec"), module.__dict__)
    flow: Callable[[str, str], Report] = module.approved_first
    return flow


@pytest.mark.usefixtures("prefect_server")
def test_a_composed_flow_goes_the_whole_way(
    composed: Callable[[str, str], Report], database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run, undone, run again, contracted."""
    from flows.contract import contract
    from flows.rollback import rollback

    assert "approved_first" not in sys.modules
    spec, profile = tmp_path / "first-name.yaml", tmp_path / "here.toml"
    spec.write_text(SPEC)
    profile.write_text(f'name = "here"\nevidence = "{tmp_path}/evidence"\n[databases.main]\nurl_env = "HERE_URL"\n')
    monkeypatch.setenv("HERE_URL", database)
    with psycopg.connect(database) as conn:
        conn.execute("create table people (id bigint generated always as identity primary key, full_name text)")
        conn.execute("insert into people (full_name) select 'Ada L' from generate_series(1, 100)")
    assert composed(str(spec), str(profile)).state is MigrationState.COMPLETE
    assert rollback("first-name", str(profile)).state is MigrationState.ROLLED_BACK
    assert composed(str(spec), str(profile)).state is MigrationState.COMPLETE
    assert contract("first-name", str(profile)).state is MigrationState.CONTRACTED
    with psycopg.connect(database) as conn:
        assert conn.execute("select count(*) from people where first_name = 'Ada'").fetchone() == (100,)
