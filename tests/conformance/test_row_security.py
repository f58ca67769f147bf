"""Row security, and a run by the owner of the tables, who is no superuser: refused where it hides rows from the run.

What is carried between tables is carried whole, whatever the policies let the application see that wrote.
"""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tasks.model.errors import PreflightError
from tests.conformance.drive import Connection, Migration

TABLES = """
create table o (id int primary key, name text, code int);
create table l (id int primary key, o_id int, note text);
create index on o (name); create index on l (o_id);
insert into o select i, 'n' || i, i from generate_series(1, 9) i;
insert into l select i, i, 'x' from generate_series(1, 9) i;
"""
OURS = """
grant all on schema public, changeover to row_owner, row_other;
grant all on all tables in schema changeover to row_owner; grant all on all sequences in schema changeover to row_owner;
alter table o owner to row_owner; alter table l owner to row_owner; grant all on o, l to row_application;
"""
HIDDEN = {
    "forced": "alter table {0} enable row level security, force row level security",
    # As a migration that is granted what it needs, but is subject to the policies.
    "of another": "alter table {0} owner to row_other; grant all on {0} to row_owner; alter table {0} enable row level"
    " security; create policy few on {0} to row_owner using (id < 5)",
}
PARENT: Mapping[str, Any] = {"table": "o", "columns": ["id"]}
REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("o", "move_column", {"table": "o", "column": "name", "to": "l", "on": {"id": "o_id"}}),
    ("l", "move_column", {"table": "o", "column": "name", "to": "l", "on": {"id": "o_id"}}),
    ("o", "denormalize", {"table": "o", "column": "name", "to": "l", "to_column": "name", "on": {"id": "o_id"}}),
    ("o", "extract_lookup", {"table": "o", "column": "name", "to": "names"}),
    ("o", "split_table", {"table": "o", "columns": ["name"], "to": "parts"}),
    ("o", "extract_junction", {"table": "l", "column": "o_id", "references": "o", "to": "j", "key": {"id": "l_id"}}),
    ("o", "create_constraint", {"table": "o", "name": "k", "type": "unique", "columns": ["name"],
                                "duplicates": "archive", "survivor": {"keep": "least", "column": "id"}}),
    *(("o", "create_constraint", {"table": "l", "name": "k", "type": "foreign_key", "columns": ["o_id"],
                                  "orphans": orphans, "references": PARENT})
      for orphans in ("archive", "set_null", "reject")),
]  # fmt: skip


@pytest.fixture
def owned(conn: Connection, url: str) -> Iterator[str]:
    """URL for the owner of two tables."""
    conn.execute("create role row_owner login; create role row_other; create role row_application login")
    conn.execute((TABLES + OURS).encode())
    try:
        yield as_role(url, "row_owner")
    finally:
        conn.execute("drop owned by row_owner, row_other, row_application cascade")
        conn.execute("drop role row_owner, row_other, row_application")


def as_role(url: str, role: str) -> str:
    """Return the URL for another role."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}@" + parts.netloc.rpartition("@")[2]).geturl()


@pytest.mark.parametrize("way", HIDDEN)
def test_where_policies_would_hide_rows_from_us_we_do_not_begin(way: str, conn: Connection, owned: str) -> None:
    """A parent that cannot be seen would make orphans of all its children."""
    for hidden, kind, body in REFUSED:
        conn.execute(HIDDEN[way].format(hidden).encode())
        with pytest.raises(PreflightError, match=rf"row security of public\.{hidden} holds for this role") as refused:
            Migration(owned, [{kind: body}]).begin()
        assert "bypassrls" in refused.value.hint
        conn.execute(
            f"alter table {hidden} owner to row_owner, no force row level security, disable row level security;"
            f" drop policy if exists few on {hidden}".encode()
        )


def test_what_is_carried_is_whole(conn: Connection, owned: str, url: str) -> None:
    """By a run of the owner, with applications to whom the rows of the other table are hidden."""
    conn.execute(
        "alter table o enable row level security; alter table l enable row level security;"
        " create policy mine on o to row_application using (id < 5);"
        " create policy none on l to row_application using (false)"
    )
    move = {"move_column": {"table": "o", "column": "name", "to": "l", "on": {"id": "o_id"}}}
    lookup = {"extract_lookup": {"table": "l", "column": "note", "to": "notes"}}
    for name, operation in (("move", move), ("lookup", lookup)):
        migration = Migration(owned, [operation], name=name)
        migration.begin()
        assert [finding.rule for finding in migration.findings if finding.severity == "warning"].count("LNK-04") == 1
        migration.before_swap()
        with psycopg.connect(as_role(url, "row_application"), autocommit=True) as application:
            application.execute("update o set code = code + 1")
            if operation is move:
                application.execute("update o set name = 'of mine' where id in (1, 8)")
        if operation is move:
            assert conn.execute("select o_id from l where name = 'of mine'").fetchall() == [(1,)]
        migration.swap()
        migration.contract()
    assert conn.execute("select count(distinct note_id), count(*) from l").fetchone() == (1, 9)
