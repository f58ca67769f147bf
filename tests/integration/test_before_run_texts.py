"""Texts that are not what the database says, seen before a run: warnings, on a real server."""

from collections.abc import Iterator

import psycopg
import pytest

from profiles.model import Database, Limits
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.model.spec import MigrationSpec
from tasks.model.status import CheckResult
from tests.servers.postgres import PostgresServer

SPEC = {
    "migration": "m",
    "operations": [{"alter_column": {"table": "T", "column": "n", "type": "bigint", "up": "n", "down": "n"}}],
}


def asked(url: str) -> list[CheckResult]:
    engine = PostgresEngine(url=url, database=Database(url_env="UNUSED"), limits=Limits(), migration="m", run_id="t")
    result = engine.examine(engine.plan(MigrationSpec.model_validate(SPEC)), values_in_reports=False)
    assert result.passed, "a warning stops nothing"
    return [check for check in result.checks if not check.passed]


@pytest.fixture
def without_encoding(postgres: PostgresServer) -> Iterator[str]:
    """URL of a database without an encoding."""
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute("drop database if exists no_encoding with (force)")
        conn.execute("create database no_encoding encoding 'SQL_ASCII' locale 'C' template template0")
        try:
            yield postgres.url_of("no_encoding")
        finally:
            conn.execute("drop database no_encoding with (force)")


def test_bytes_that_no_encoding_explains(without_encoding: str) -> None:
    with psycopg.connect(without_encoding, autocommit=True) as conn:
        conn.execute("""create table "T" (id int primary key, n int, "a b" text, c varchar(9), d int)""")
        conn.execute("""insert into "T" values (1, 1, 'plain', null, 1), (2, 2, null, 'x', 2)""")
        assert asked(without_encoding) == []
        conn.execute(r"""insert into "T" values (3, 3, E'caf\xe9', null, 3), (4, 4, 'x', E'\xc3\xa9', 4)""")
        (check,) = asked(without_encoding)
        assert (check.verdict, check.unexpected) == ("WARNING", 2)
        assert check.name == "the texts of public.T mean the same to everybody"
        assert check.message.startswith("2 rows hold bytes beyond ASCII")
        found = conn.execute(f"select count(*) from ({check.fix}) as found".encode()).fetchone()
        assert found == (2,)


def test_a_collation_that_indexes_know_in_another_version(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute("create collation c (provider = builtin, locale = 'C.UTF-8')")
        conn.execute("""create table "T" (id int primary key, n int, t text collate c, u text)""")
        assert asked(database) == []
        conn.execute("update pg_collation set collversion = '0' where collname = 'c'")
        (check,) = asked(database)
        assert (check.verdict, check.name) == ("WARNING", "the collation public.c is as its indexes know it")
        assert check.message.startswith("indexes were built with version 0, and the server has version ")
        conn.execute(check.fix.encode())
        assert asked(database) == []
        conn.execute("""alter table "T" drop t""")
        conn.execute("update pg_collation set collversion = '0' where collname = 'c'")
        assert asked(database) == [], "no column has it any more"
