"""Wrong servers, wrong roles, wrong tables, no room: said clearly, in time, and nothing is changed."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tasks.engines.postgresql.embedded import free_port, start
from tests.conformance.tables import catalogue
from tests.faults.disk import small_disk
from tests.faults.runs import Outcome, Runs
from tests.faults.shop import Shop, load, write_profile, write_spec
from tests.servers.pgbouncer import running_pgbouncer

pytestmark = pytest.mark.timeout(300)

SCHEMA = """
create table t (id int primary key, name text);
insert into t select i, 'n' || i from generate_series(1, 100) i;
create view v as select * from t;
create table parts (id int not null, at date not null) partition by range (at);
create table part_2026 partition of parts for values from ('2026-01-01') to ('2027-01-01');
create materialized view mv as select id from t;
"""


def _add(table: str = "t") -> list[dict[str, object]]:
    return [{"add_column": {"table": table, "up": "1", "column": {"name": "extra", "type": "int"}}}]


class Refusals:
    """Runs that are to be refused against one database, and what must not have changed in it."""

    def __init__(self, url: str, runs: Runs, folder: Path) -> None:
        self.url, self.runs, self.folder = url, runs, folder
        self.profile = write_profile(folder / "faults.toml", limits={"lock_patience": 5.0, "attempts": 2})
        with psycopg.connect(url, autocommit=True) as conn:
            conn.execute(SCHEMA.encode())
        self.before = self.look()

    def look(self) -> tuple[object, ...]:
        """Everything that a run could change: tables, schemas, roles, functions."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            counts = conn.execute(
                "select (select array_agg(nspname::text order by nspname) from pg_namespace where nspname !~ '^pg_'),"
                " (select count(*) from pg_class), (select count(*) from pg_proc),"
                " (select count(*) from pg_trigger), (select array_agg(rolname::text order by rolname) from pg_roles)"
            ).fetchone()
            assert counts is not None
            return (catalogue(conn), *counts)

    def refused(self, url: str | None = None, operations: list[dict[str, object]] | None = None) -> Outcome:
        """Run, and expect a refusal that says what, where and what to do; nothing may have changed."""
        spec = write_spec(self.folder / "spec.json", operations or _add(), "refused")
        outcome = self.runs.start("run", spec, self.profile, url or self.url).wait()
        assert outcome.exit_code == 2, str(outcome)
        for field in ("code", "what", "where", "hint"):
            assert outcome.said[field], str(outcome)
        assert outcome.said["changed"] == "nothing changed"
        assert "Traceback" not in outcome.said["what"]
        assert self.look() == self.before
        return outcome


@pytest.fixture
def refusals(database: str, runs: Runs, tmp_path: Path) -> Refusals:
    """A database in which nothing may change."""
    return Refusals(database, runs, tmp_path)


def _as(url: str, user: str, *, password: str = "", database: str = "") -> str:
    parts = urlsplit(url)
    who = f"{user}:{password}" if password else user
    path = f"/{database}" if database else parts.path
    return urlunsplit(parts._replace(netloc=f"{who}@{parts.hostname}:{parts.port}", path=path))


@pytest.fixture
def role(database: str) -> Iterator[Callable[[str], str]]:
    """Make roles that go with the test, and give their URLs; the grant names the role as {role}."""
    with ExitStack() as made:

        def make(grant: str) -> str:
            name = f"fault_role_{free_port()}"
            with psycopg.connect(database, autocommit=True) as conn:
                conn.execute(f"create role {name} login".encode())
                made.callback(_drop_role, database, name)
                conn.execute(grant.format(role=name).encode())
            return _as(database, name)

        yield make


def _drop_role(url: str, name: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"drop owned by {name}; drop role {name}".encode())


def test_nobody_listens(refusals: Refusals) -> None:
    outcome = refusals.refused(f"postgresql://postgres@127.0.0.1:{free_port()}/postgres")
    assert outcome.said["code"] == "UNREACHABLE"
    assert "No server listens" in outcome.said["what"]


def test_unknown_database(refusals: Refusals) -> None:
    outcome = refusals.refused(_as(refusals.url, "postgres", database="no_such_database"))
    assert "database does not exist" in outcome.said["what"]
    assert "no_such_database" in outcome.said["where"]


def test_unknown_role(refusals: Refusals) -> None:
    assert "user does not exist" in refusals.refused(_as(refusals.url, "nobody_knows")).said["what"]


def test_wrong_password(runs: Runs, tmp_path: Path) -> None:
    with start() as server:
        refusals = Refusals(server.url, runs, tmp_path)
        hba = server.data_dir / "pg_hba.conf"
        with psycopg.connect(server.url, autocommit=True) as conn:
            conn.execute("create role guarded login password 'right-0ne'")
            refusals.before = refusals.look()
            hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + hba.read_text())
            conn.execute("select pg_reload_conf()")
        outcome = refusals.refused(_as(server.url, "guarded", password="wr0ng-One"))
        assert "refused the user or the password" in outcome.said["what"]
        assert "wr0ng-One" not in str(outcome)
        assert "refused the user or the password" in refusals.refused(_as(server.url, "guarded")).said["what"]


def test_standby(runs: Runs, tmp_path: Path) -> None:
    with start() as server:
        refusals = Refusals(server.url, runs, tmp_path)
        with server.replica() as standby:
            outcome = refusals.refused(standby.url)
            assert "standby" in outcome.said["what"]
            assert "primary" in outcome.said["hint"]


def test_pooler(refusals: Refusals) -> None:
    with running_pgbouncer(refusals.url) as url:
        outcome = refusals.refused(url)
    assert "pooler" in outcome.said["what"]


def test_read_only_role(refusals: Refusals, role: Callable[[str], str]) -> None:
    url = role("grant pg_read_all_data to {role}; alter role {role} set default_transaction_read_only = on")
    refusals.before = refusals.look()
    assert "read-only" in refusals.refused(url).said["what"]


def test_role_that_does_not_own_the_table(refusals: Refusals, role: Callable[[str], str]) -> None:
    url = role(
        "grant all on all tables in schema public to {role}; grant create on schema public to {role};"
        " do $$ begin execute format('grant create on database %I to {role}', current_database()); end $$"
    )
    refusals.before = refusals.look()
    outcome = refusals.refused(url)
    assert "own" in outcome.said["what"]
    assert outcome.said["hint"].startswith("Connect as")


def test_role_that_may_not_create_the_ledger(refusals: Refusals, role: Callable[[str], str]) -> None:
    url = role("grant pg_read_all_data to {role}")
    refusals.before = refusals.look()
    refusals.refused(url)


@pytest.mark.parametrize("table", ["v", "mv", "parts", "no_such_table", "pg_catalog.pg_class"])
def test_what_is_no_plain_table(table: str, refusals: Refusals) -> None:
    outcome = refusals.refused(operations=_add(table))
    assert table.rpartition(".")[2] in outcome.said["what"] + outcome.said["where"]


def test_unset_variable(refusals: Refusals) -> None:
    outcome = refusals.runs.start(
        "run", write_spec(refusals.folder / "s.json", _add(), "refused"), refusals.profile, ""
    ).wait()
    assert (outcome.exit_code, outcome.said["code"]) == (2, "PROFILE"), str(outcome)
    assert "CHANGEOVER_URL" in str(outcome.said)
    assert outcome.said["hint"]


def test_no_room_on_the_disk(runs: Runs, tmp_path: Path) -> None:
    """The table lies on a disk that the backfill fills. Once there is room, the same run goes on."""
    with start() as server, small_disk(8) as disk:
        place = disk.path / "tablespace"
        place.mkdir(mode=0o700)
        owner = server.data_dir.stat()
        os.chown(place, owner.st_uid, owner.st_gid)
        with psycopg.connect(server.url, autocommit=True) as conn:
            load(conn)
            conn.execute(f"create tablespace small location '{place}'".encode())
            conn.execute("alter table orders set tablespace small")
            conn.execute("checkpoint")
        # What is left is less than any way of filling the rows takes.
        free = os.statvfs(disk.path)
        (disk.path / "else").write_bytes(bytes(free.f_bavail * free.f_frsize - 128 * 1024))
        shop = Shop.at(server.url, runs, tmp_path)
        outcome = shop.start().wait()
        assert (outcome.exit_code, outcome.said["code"]) == (1, "STEP"), str(outcome)
        assert "53100" in outcome.said["what"]
        assert "No space left" in outcome.said["what"]
        assert outcome.said["hint"].startswith("Make room")
        assert outcome.said["changed"] == "partially applied"
        assert shop.state() == "failed"
        shop.assert_equal("old")
        disk.resize(64)
        shop.complete()
        shop.assert_complete()
        shop.complete("rollback")
        shop.assert_rolled_back()
