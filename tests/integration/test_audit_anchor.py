"""Anchors of the audit log: lines that survive crashes, and that say which ledger they saw."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tasks.ledger import audit
from tasks.ledger.anchor import anchor_head, anchor_path, database_id, read_anchors, write_anchor
from tasks.ledger.install import install, installation_id
from tasks.ledger.verify import verify
from tasks.model.errors import AuditError, StepError
from tests.integration.ledger_samples import at_once


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn)
        yield conn


def test_an_anchor_is_a_line_that_only_its_owner_reads(conn: psycopg.Connection, tmp_path: Path) -> None:
    anchor = anchor_head(conn, tmp_path)
    newest = audit.head(conn)
    path = anchor_path(tmp_path, database_id(conn))

    assert anchor is not None
    assert newest is not None
    assert (anchor.seq, anchor.hash, anchor.at, anchor.where) == (1, newest.hash, newest.at, newest.place)
    assert anchor.installation == installation_id(conn)
    assert json.loads(path.read_text()) == anchor.model_dump(mode="json")
    assert path.read_text().endswith("}\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_anchors_are_added_and_earlier_ones_kept(conn: psycopg.Connection, tmp_path: Path) -> None:
    for number in range(3):
        audit.append(conn, "ana", "test", str(number), "done")
        anchor_head(conn, tmp_path)
    anchors, problems = read_anchors(tmp_path, database_id(conn))
    assert [anchor.seq for anchor in anchors] == [2, 3, 4]
    assert problems == []


def test_a_file_that_others_could_read_is_closed_to_them(conn: psycopg.Connection, tmp_path: Path) -> None:
    path = anchor_path(tmp_path, database_id(conn))
    path.parent.mkdir()
    path.touch(mode=0o644)
    anchor_head(conn, tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_not_committed_is_not_anchored(conn: psycopg.Connection, tmp_path: Path) -> None:
    with conn.transaction(force_rollback=True):
        audit.append(conn, "ana", "test", "subject", "done")
        with pytest.raises(StepError, match="committed"):
            anchor_head(conn, tmp_path)
    assert not (tmp_path / "audit").exists()


def test_without_a_ledger_there_is_nothing_to_anchor(conn: psycopg.Connection, tmp_path: Path) -> None:
    conn.execute("drop schema changeover cascade")
    assert anchor_head(conn, tmp_path) is None


def test_a_line_cut_short_by_a_crash_is_passed_over(conn: psycopg.Connection, tmp_path: Path) -> None:
    anchor_head(conn, tmp_path)
    path = anchor_path(tmp_path, database_id(conn))
    with path.open("a") as file:
        file.write(path.read_text()[:40])
    audit.append(conn, "ana", "test", "subject", "done")
    anchor_head(conn, tmp_path)

    anchors, problems = read_anchors(tmp_path, database_id(conn))
    assert [anchor.seq for anchor in anchors] == [1, 2]
    assert problems == []
    assert verify(conn, tmp_path).ok


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"seq": "x"}', "[]"])
def test_a_line_that_is_no_anchor_fails_the_verification(conn: psycopg.Connection, tmp_path: Path, line: str) -> None:
    anchor_head(conn, tmp_path)
    path = anchor_path(tmp_path, database_id(conn))
    with path.open("a") as file:
        file.write(line + "\n")
    assert verify(conn, tmp_path).problems == (f"line 2 of {path} is not an anchor",)


def test_an_edited_anchor_accuses_the_log(conn: psycopg.Connection, tmp_path: Path) -> None:
    """The log and its anchors hold each other: one of them was changed, and both sides are evidence."""
    anchor_head(conn, tmp_path)
    path = anchor_path(tmp_path, database_id(conn))
    path.write_text(path.read_text().replace('"hash":"', '"hash":"0'))
    assert verify(conn, tmp_path).problems == ("record 1 is not the one that was anchored",)


def test_a_folder_that_cannot_be_written_is_an_error_with_a_remedy(conn: psycopg.Connection, tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("in the way")
    with pytest.raises(AuditError, match="cannot be anchored") as caught:
        anchor_head(conn, tmp_path)
    assert "evidence folder" in caught.value.hint


def test_many_writers_leave_whole_lines(conn: psycopg.Connection, tmp_path: Path) -> None:
    newest, name = audit.head(conn), database_id(conn)
    assert newest is not None

    def work() -> None:
        for _ in range(20):
            write_anchor(tmp_path, name, newest, "installation")

    assert at_once(*[work] * 4) == []
    anchors, problems = read_anchors(tmp_path, name)
    assert (len(anchors), problems) == (80, [])


def test_databases_are_told_apart_by_names_that_files_cannot_have(conn: psycopg.Connection, database: str) -> None:
    own = conn.info.dbname
    names = [f"{own}/../x", f"{own} x", f"{own.upper()}", f"{own}é"]
    found = {database_id(conn)}
    for name in names:
        quoted = name.replace('"', '""')
        conn.execute(f'create database "{quoted}"')
        try:
            with psycopg.connect(database, dbname=name) as other:
                found.add(database_id(other))
        finally:
            conn.execute(f'drop database "{quoted}" with (force)')
    assert len(found) == 5
    assert len({name.lower() for name in found}) == 5
    assert all(set(name) <= set("-_") | set(map(chr, range(128))) and "/" not in name for name in found)
