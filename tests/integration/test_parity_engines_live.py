"""A table of PostgreSQL that is written, and its copy on MariaDB that follows a moment later."""

import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.integration.test_parity_live import FILL, HOT, ROWS, TABLE, often, planted, queued, writing
from tests.servers.mariadb import connected
from validations.parity.compare import Table, compare
from validations.parity.report import Kind, Verdict

COPY = "create table b (id bigint primary key, n bigint not null, note varchar(40), at timestamp(6) null default %s)"
FILL_COPY = f"insert into b (id, n, note) select seq, seq, concat('note ', seq) from seq_1_to_{ROWS}"
UPSERT = (
    "insert into b (id, n, at, note) values (%s, %s, %s, concat('note ', %s))"
    " on duplicate key update n = values(n), at = values(at)"
)


@pytest.fixture
def followed(database: str, maria_database: str) -> Iterator[tuple[str, str]]:
    """The same rows in both, and a thread that carries over what is written into the first."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(TABLE.format("a").encode())
        conn.execute(FILL.format("a").encode())
        (at,) = conn.execute("select (at at time zone 'UTC')::text from a limit 1").fetchall()[0]
    queued(database)
    with connected(maria_database) as other, other.cursor() as cursor:
        cursor.execute("set time_zone = '+00:00'")
        cursor.execute(COPY, (at,))
        cursor.execute(FILL_COPY)

        def carry(conn: psycopg.Connection[Any], _: int) -> None:
            time.sleep(0.03)
            for _, key in conn.execute(
                "delete from queue where seq in (select seq from queue order by seq) returning *"
            ).fetchall():
                row = conn.execute("select id, n, at at time zone 'UTC' from a where id = %s", (key,)).fetchone()
                if row is None:
                    cursor.execute("delete from b where id = %s", (key,))
                else:
                    cursor.execute(UPSERT, (*row, key))

        with writing(carry, database):
            yield database, maria_database


def test_between_engines_what_is_planted_is_found_and_nothing_else(followed: tuple[str, str]) -> None:
    a, b = Table(url=followed[0], database="pg", name="a"), Table(url=followed[1], database="maria", name="b")
    with writing(often, followed[0]) as turns:
        equal = compare(a, b)
        with connected(followed[1]) as other, other.cursor() as cursor:
            expected = planted(cursor.execute, "b")
        there, back = compare(a, b), compare(b, a)
    assert len(turns) > 5
    assert (equal.verdict, equal.differences, equal.unsettled) == (Verdict.EQUAL, (), ())
    assert {(one.kind, one.key[0], one.columns) for one in there.differences} == expected
    other_way = {Kind.MISSING: Kind.EXTRA, Kind.EXTRA: Kind.MISSING, Kind.CHANGED: Kind.CHANGED}
    assert {(one.kind, one.key[0], one.columns) for one in back.differences} == {
        (other_way[kind], key, columns) for kind, key, columns in expected
    }
    assert (there.unsettled, back.unsettled) == ((), ())
    assert str(HOT) in {one.key[0] for one in there.differences}
