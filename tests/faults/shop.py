"""The database that suffers: the demo's orders, a migration with a bit of everything, and what must hold after."""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psycopg
from psycopg import sql

from examples.demo import orders
from examples.demo.application import Application
from examples.demo.report import ApplicationReport
from tasks.engines.postgresql.inspect import inspect
from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tests.conformance.tables import leftovers
from tests.faults.runs import Outcome, Run, Runs
from tests.servers.postgres import PostgresServer

Connection = psycopg.Connection[Any]
ROWS = 20_000
MIGRATION = "reshape_orders"
TABLES = ["public.orders", "public.orders_twin", "public.currencies"]

_SCHEMA = """
create table currencies (code text primary key);
insert into currencies values ('EUR'), ('USD'), ('GBP'), ('JPY');
alter table orders alter column id type integer;
create index orders_status on orders (status, id);
analyze orders, currencies;
"""
_DOWN = "coalesce(first_name || ' ', '') || last_name"


def _add(name: str, up: str, **column: object) -> dict[str, object]:
    return {"add_column": {"table": "orders", "up": up, "column": {"name": name, "type": "text", **column}}}


OPERATIONS: list[dict[str, object]] = [
    {"alter_column": {"table": "orders", "column": "id", "type": "bigint", "up": "id", "down": "id"}},
    _add("first_name", "case when customer like '% %' then split_part(customer, ' ', 1) end", nullable=True),
    _add("last_name", "substr(customer, strpos(customer, ' ') + 1)", nullable=True),
    {"drop_column": {"table": "orders", "column": "customer", "down": _DOWN}},
    _add("reference", "'R' || id", nullable=True, unique=True),
    _add(
        "currency_code",
        "currency",
        nullable=False,
        default="'EUR'",
        check={"name": "orders_code", "constraint": "length(currency_code) = 3"},
        references={"name": "orders_currency", "table": "currencies", "column": "code"},
    ),
]
_OLD = orders.COLUMNS.replace("id,", "id::bigint as id,", 1)
_NEW = _OLD.replace("customer", f"{_DOWN} as customer")

PROFILE = """
name = "faults"
evidence = {evidence}
on_failure = {on_failure}
[databases.main]
url_env = "CHANGEOVER_URL"
[limits]
{limits}
[runner]
shards = {shards}
"""
LIMITS: Mapping[str, object] = {"batch_rows": 400, "lock_patience": 60.0, "snapshot_age": 30.0}


def write_profile(
    path: Path, *, limits: Mapping[str, object] = LIMITS, on_failure: str = "keep", shards: int = 2
) -> Path:
    """Write a profile whose evidence lies beside it."""
    path.write_text(
        PROFILE.format(
            evidence=json.dumps(str(path.parent / "evidence")),
            on_failure=json.dumps(on_failure),
            limits="\n".join(f"{name} = {value}" for name, value in limits.items()),
            shards=shards,
        )
    )
    return path


def write_spec(path: Path, operations: list[dict[str, object]], migration: str = MIGRATION) -> Path:
    """Write a spec."""
    path.write_text(json.dumps({"migration": migration, "operations": operations}))
    return path


def load(conn: Connection, rows: int = ROWS) -> None:
    """Create the tables of the shop in an empty database."""
    orders.create(conn, rows)
    conn.execute(_SCHEMA.encode())


@contextmanager
def template(postgres: PostgresServer, rows: int = ROWS) -> Iterator[str]:
    """Make a database to copy shops from; give its name."""
    name = f"changeover_faults_{secrets.token_hex(4)}"
    drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
    with psycopg.connect(postgres.url, autocommit=True) as conn:
        conn.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
        try:
            with psycopg.connect(postgres.url_of(name), autocommit=True) as inside:
                load(inside, rows)
            yield name
        finally:
            conn.execute(drop)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """One database, one migration of it, and the ways to look at both."""

    url: str
    runs: Runs
    folder: Path
    spec: Path
    profile: Path
    before: Catalogue

    @classmethod
    @contextmanager
    def copy_of(cls, name: str, postgres: PostgresServer, runs: Runs, folder: Path) -> Iterator[Self]:
        """Copy a template; the copy goes with the context."""
        copy = f"{name}_{secrets.token_hex(4)}"
        named = sql.Identifier(copy)
        with psycopg.connect(postgres.url, autocommit=True) as conn:
            conn.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(named, sql.Identifier(name))
            )
        try:
            place = folder / copy
            place.mkdir()
            yield cls.at(postgres.url_of(copy), runs, place)
        finally:
            with psycopg.connect(postgres.url, autocommit=True) as conn:
                conn.execute(sql.SQL("drop database if exists {} with (force)").format(named))

    @classmethod
    def at(cls, url: str, runs: Runs, folder: Path) -> Self:
        """Give the shop of a database that holds its tables."""
        with psycopg.connect(url, autocommit=True) as conn:
            before = inspect(conn, TABLES, "public")
        return cls(
            url=url,
            runs=runs,
            folder=folder,
            spec=write_spec(folder / "spec.json", OPERATIONS),
            profile=write_profile(folder / "faults.toml"),
            before=before,
        )

    def start(self, command: str = "run") -> Run:
        """Start a run: of the spec, or of the migration in the ledger."""
        return self.runs.start(command, self.spec if command == "run" else MIGRATION, self.profile, self.url)

    def complete(self, command: str = "run") -> Outcome:
        """Run to the end and expect that it goes well."""
        outcome = self.start(command).wait()
        assert outcome.exit_code == 0, str(outcome)
        return outcome

    def until_complete(self, tries: int = 5) -> int:
        """Run again as long as the error says that this can help; return how many runs it took."""
        for number in range(1, tries + 1):
            outcome = self.start().wait()
            if outcome.exit_code == 0:
                assert outcome.state == "complete"
                return number
            assert outcome.said.get("type") in RESUMABLE, str(outcome)
        raise AssertionError(f"not complete after {tries} runs: {outcome}")

    def application(self, rate: float = 60.0) -> Application:
        """Give the live writer, with its twin; the version that knows only the old shape."""
        # It prepares nothing: `returning id` changes its type at the swap, which no server forgives a prepared one.
        # Without NULLs in new names: for the application's twin they mean NULL, for our `down` an empty first name.
        return Application(self.url, rate=rate, workers=3, prepare=False, nulls=0.0)

    def connect(self, name: str = "fault-test") -> Connection:
        """Open a session of the test's own."""
        return psycopg.connect(self.url, autocommit=True, application_name=name)

    def ask(self, question: str, *values: object) -> Any:
        """Return the first column of the first row."""
        with self.connect() as conn:
            row = conn.execute(question.encode(), values or None).fetchone()
        return row[0] if row else None

    def steps(self, phase: str = "%") -> dict[str, str]:
        """State of every step in the ledger, or of those of a phase; empty while there is no ledger."""
        question = "select key, state from changeover.steps where phase like %s order by position"
        with self.connect() as conn:
            try:
                return dict(conn.execute(question, (phase,)).fetchall())
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return {}

    def await_phase(self, run: Run, phase: str) -> None:
        """Wait until a step of the phase runs, or the first of them is done: many are too short to be seen."""
        while not run.ended:
            states = list(self.steps(phase).values())
            if "running" in states or states[:1] == ["done"]:
                return
            time.sleep(0.02)
        raise AssertionError(f"ended before {phase}: {run.wait()}")

    def state(self) -> str:
        """State of the migration in the ledger; empty where it is not known."""
        try:
            return self.ask("select state from changeover.migrations where id = %s", MIGRATION) or ""
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            return ""

    def assert_equal(self, *shapes: str) -> None:
        """Compare with the twin, row by row, in both directions, through the given shapes."""
        lists = {"old": _OLD, "new": _NEW}
        with self.connect() as conn:
            for shape in shapes:
                found = orders.differences(conn, orders=lists[shape])
                assert found.total == 0, f"{shape} shape: {found}"
                assert found.rows > ROWS // 2

    def assert_complete(self) -> None:
        """Everything before the contract is done, nothing is lost, nothing half built is left."""
        assert self.state() == "complete"
        steps, later = self.steps(), self.steps("contract")
        assert set(later.values()) == {"pending"}
        left = {key for key in steps if steps[key] != "done"} - set(later)
        assert all(_only_for_rollback(key) for key in left), {key: steps[key] for key in left}
        self.assert_equal("old", "new")
        assert self.ask("select count(*) from pg_index where not indisvalid") == 0
        assert self.ask("select count(*) from changeover.rejections") == 0

    def assert_rolled_back(self) -> None:
        """Catalogue and data are the ones before, with what the application wrote since."""
        assert self.state() == "rolled back"
        with self.connect() as conn:
            assert compare(self.before, inspect(conn, TABLES, "public")) == ()
            assert leftovers(conn) == []
        self.assert_equal("old")

    def assert_contracted(self) -> None:
        """Only the new shape is there, and nothing of ours."""
        assert self.state() == "contracted"
        with self.connect() as conn:
            assert leftovers(conn) == []
        assert (
            self.ask(
                "select count(*) from pg_attribute where attrelid = 'orders'::regclass and attname = 'customer'"
                " and not attisdropped"
            )
            == 0
        )
        self.assert_equal("new")


RESUMABLE = ("TransientError", "LockTimeoutError", "UnreachableError", "TooManyConnectionsError", "FencedError")
"""Errors that say: run again."""


def assert_untroubled(report: ApplicationReport) -> None:
    """No statement of the application failed."""
    assert report.failures == (), report.failures[:5]
    assert len(report.statements.at) > 100


def _only_for_rollback(key: str) -> bool:
    """Tell whether a run leaves a step alone."""
    return key.startswith("swap/") and key != "swap/all"
