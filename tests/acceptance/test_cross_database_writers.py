"""A table is copied into MongoDB while applications write to it: in the end every document is what its row gives."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import Decimal128
from pymongo.database import Database

from flows.contract import contract
from flows.cross_database import cross_database
from flows.rollback import rollback
from tasks.engines.mongodb import cutover
from tasks.engines.mongodb.target import Target
from tasks.model.errors import GateError, StateError
from tasks.model.status import MigrationState
from tests.conformance.tables import leftovers
from tests.servers.remains import soon
from tests.two_databases import acts_in_order, between

pytestmark = pytest.mark.usefixtures("prefect_server")
S = MigrationState
KEYS = 3000
TABLE = f"""
create table kinds (id int primary key, title text);
insert into kinds select i, 'k' || i from generate_series(0, 599) i;
create table "Odd ""t" (a int, b text, amount numeric, note text, seen timestamptz,
  active boolean not null default true, kind int references kinds, primary key (a, b));
insert into "Odd ""t" select i, 'x', i / 3.0, repeat('n', i % 50), null from generate_series(1, {KEYS}) i;
update "Odd ""t" set kind = a % 600;
create index on "Odd ""t" (kind);
create table lines (no int generated always as identity primary key, a int, b text, n numeric,
  foreign key (a, b) references "Odd ""t" on update cascade on delete cascade);
insert into lines (a, b, n) select i % {KEYS} + 1, 'x', i from generate_series(1, {KEYS}) i;
create index on lines (a, b);
"""
SPEC = """
migration: odd
strategy: cross_database
transfer:
  table: Odd "t
  to: {database: documents, collection: odd}
  capture: triggers
  where: active
  fields:
    title: {up: "a || ':' || b"}
    amount: {column: amount, unfit: reject}
    detail.note: {column: note, nulls: missing}
    detail.seen: {column: seen, unfit: tag}
    kind: {lookup: {table: kinds, column: title}}
    lines: {embed: {table: lines, order: [n], fields: {no: no, n: n}}}
"""


@pytest.fixture
def profile(database: str, documents: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "odd.yaml").write_text(SPEC)
    return between(tmp_path, monkeypatch, main=database, documents=documents)


@pytest.fixture
def spec(profile: str, tmp_path: Path) -> str:
    return str(tmp_path / "odd.yaml")


@pytest.fixture
def source(database: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as conn:
        conn.execute(TABLE)
        yield conn


class Writer:
    """Writes whatever an application may, until it is told to stop; whatever fails is kept."""

    def __init__(self, url: str, seed: int, stop: Callable[[], bool]) -> None:
        self.url = url
        self.random = random.Random(seed)
        self.stop = stop
        self.statements = 0
        self.failures: list[str] = []

    def __call__(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            while not self.stop():
                try:
                    time.sleep(0.005)
                    self._once(conn)
                    self.statements += 1
                except psycopg.errors.ForeignKeyViolation:
                    continue
                except (psycopg.errors.DeadlockDetected, psycopg.errors.UniqueViolation):
                    # They do it to each other: rows in different orders, and MERGE, which sees no key of another's.
                    continue
                except psycopg.Error as error:
                    self.failures.append(str(error))

    def _once(self, conn: psycopg.Connection[Any]) -> None:
        key, word = self.random.randint(1, KEYS + 500), self.random.choice(("x", "y", 'a,"b'))
        other = self.random.randint(1, KEYS + 500)
        amount = self.random.choice(("1.10", "0", "7" * 40, None, "-3.5"))
        seen = self.random.choice(("infinity", "2026-01-02 03:04:05.000001+00", "2026-01-02", None))
        statements: list[tuple[str, tuple[Any, ...]]] = [
            ("update {t} set amount = %s, seen = %s where a = %s", (amount, seen, key)),
            ("update {t} set note = repeat('long ', 1000) where a = %s and b = %s", (key, word)),
            ("update {t} set active = not active where a between %s and %s + 3", (key, key)),
            ("delete from {t} where a = %s", (key,)),
            ("insert into {t} values (%s, %s, %s, 'new', %s) on conflict do nothing", (key, word, amount, seen)),
            ("insert into {t} values (%s, %s, %s) on conflict (a, b) do update set note = 'again'",
             (key, word, amount)),
            ("update {t} set a = %s where a = %s and b = %s and not exists (select from {t} where a = %s and b = %s)",
             (other, key, word, other, word)),
            ("merge into {t} t using (select %s::int as a) s on t.a = s.a when matched then update set note = null"
             " when not matched then insert (a, b) values (s.a, 'm')", (key,)),
            ("insert into lines (a, b, n) values (%s, %s, %s)", (key, word, other)),
            ("update lines set n = n + 1 where a = %s", (key,)),
            ("update lines set (a, b) = (%s, 'x') where a = %s", (other, key)),
            ("delete from lines where a = %s", (key,)),
            ("update kinds set title = title || '+' where id = %s", (key % 600,)),
            ("update {t} set kind = %s where a = %s", (other % 600, key)),
        ]  # fmt: skip
        query, values = self.random.choice(statements)
        with conn.transaction() as whole:
            conn.execute(query.format(t='"Odd ""t"').encode(), values)
            if self.random.random() < 0.1:
                raise psycopg.Rollback(whole)
            if self.statements in (20, 200):
                conn.execute(
                    'insert into "Odd ""t" select i, \'many\', i from generate_series(10000, 14999) i'
                    " on conflict do nothing"
                )
                left = 10000 + self.random.randint(4900, 5000)
                conn.execute('delete from "Odd ""t" where a between 10000 and %s', (left,))


@contextmanager
def writing(url: str) -> Iterator[list[Writer]]:
    """Keep three writers busy."""
    ended = threading.Event()
    writers = [Writer(url, seed, ended.is_set) for seed in range(3)]
    threads = [threading.Thread(target=one) for one in writers]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        ended.set()
        for thread in threads:
            thread.join(60)


def test_every_write_arrives_and_no_statement_fails(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, spec: str, database: str
) -> None:
    """Writers go on through copy, gate, swap and beyond: what the swap has not got is noted; nothing else differs."""
    with writing(database) as writers:
        report = cross_database(spec, profile)
    assert report.state is S.COMPLETE
    assert [failure for one in writers for failure in one.failures] == []
    assert min(one.statements for one in writers) > 50
    assert target.list_collection_names() == ["odd"]
    notes, rejected = _tables(source)
    written = f"select _changeover_looked_up[1]::int from {notes}"
    late = {
        (row[0], row[1])
        for row in source.execute(
            f"select a, b from {notes} where a is not null"
            f' union select a, b from "Odd ""t" where kind in ({written})'.encode()
        )
    }
    rows = source.execute(
        "select a, b, amount, note, seen::text,"
        " (select title from kinds k where k.id = t.kind),"
        " array(select (no, n)::text from lines l where (l.a, l.b) = (t.a, t.b) order by n, no)"
        ' from "Odd ""t" t where active'
    ).fetchall()
    wanted = {(row[0], row[1]): _document(*row) for row in rows if (row[0], row[1]) not in late}
    wanted = {key: one for key, one in wanted.items() if one is not None}
    found = {(one["_id"]["a"], one["_id"]["b"]): one for one in target["odd"].find()}
    assert {key: one for key, one in found.items() if key not in late} == wanted
    left_out = {row[0] for row in source.execute(f"select key from {rejected}".encode())}
    misfits = {_text(a, b) for a, b, amount, *_ in rows if (a, b) not in late and _unfit(amount)}
    assert left_out - {_text(a, b) for a, b in late} == misfits

    # What came after the swap is only in the table: nobody ends the migration without looking, or takes it back.
    assert late
    with pytest.raises(GateError, match="nothing was written"):
        contract("odd", profile)
    target["odd"].update_one({"_id": found[next(iter(wanted))]["_id"]}, {"$set": {"title": "new"}})
    with pytest.raises(StateError, match="writes since the swap"):
        rollback("odd", profile)
    assert rollback("odd", profile, accept_loss=True).state is S.ROLLED_BACK
    assert target.list_collection_names() == []
    assert leftovers(source) == []


def test_without_late_writes_it_ends(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty table is copied, too; contract takes the triggers away, and the application writes as before.

    A publication of all tables refuses updates of tables without a key: ours have one. Right before the collection gets
    its name, while writers wait, no session is opened to ask what has happened.
    """
    source.execute('truncate "Odd ""t", lines; create publication everything for all tables')
    acts = acts_in_order(monkeypatch, asked=(Target, "happened"), carried=(cutover, "carry"), put=(Target, "put"))
    assert cross_database(spec, profile).state is S.COMPLETE
    assert acts[: acts.index("put")][-2:] == ["asked", "carried"]
    assert contract("odd", profile).state is S.CONTRACTED
    assert leftovers(source) == []
    source.execute('insert into "Odd ""t" values (1, \'x\')')
    assert target["odd"].count_documents({}) == 0


def test_what_is_written_while_contract_waits_is_not_forgotten(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, spec: str, database: str
) -> None:
    """The gate sees no note of a transaction that is open; the lock waits for it, and then there is one."""
    source.execute('delete from "Odd ""t" where a > 5')
    assert cross_database(spec, profile).state is S.COMPLETE
    notes, _ = _tables(source)
    with psycopg.connect(database) as other:
        other.execute('update "Odd ""t" set note = \'late\' where a = 1')
        gates = "select count(*) from changeover.gates where migration = 'odd' and gate = 'after_swap'"

        def commit_after_the_gate() -> None:
            with psycopg.connect(database, autocommit=True) as conn:
                soon(lambda: conn.execute(gates.encode()).fetchone() == (2,), seconds=60)
            time.sleep(0.5)
            other.commit()

        late = threading.Thread(target=commit_after_the_gate)
        late.start()
        with pytest.raises(GateError, match="1 more notes than the gate saw"):
            contract("odd", profile)
        late.join()
    assert source.execute("select state from changeover.migrations").fetchone() == ("complete",)
    assert source.execute(f"select a, b from {notes}".encode()).fetchall() == [(1, "x")]
    with pytest.raises(GateError, match="nothing was written"):
        contract("odd", profile)
    # It can still be taken back.
    assert rollback("odd", profile, accept_loss=True).state is S.ROLLED_BACK
    assert leftovers(source) == []


def test_no_name_is_given_once_the_server_may_have_forgotten(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, spec: str, database: str
) -> None:
    """Where the session that holds the tables is gone, the server may be another: what the gate has seen is void."""
    source.execute('delete from "Odd ""t" where a > 5')
    ended: list[int] = []
    with psycopg.connect(database) as other:

        def end_after_the_gate() -> None:
            gates = "select count(*) from changeover.gates where gate = 'before_swap'"
            guard = "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '% guard'"
            with psycopg.connect(database, autocommit=True) as conn:
                # The writer keeps the swap waiting, and nothing before it.
                assert soon(lambda: _copied(conn), seconds=60)
                other.execute('update "Odd ""t" set note = \'late\' where a = 1')
                assert soon(lambda: conn.execute(gates.encode()).fetchone() == (1,), seconds=60)
                ended.append(len(conn.execute(guard).fetchall()))
                other.commit()

        thread = threading.Thread(target=end_after_the_gate)
        thread.start()
        with pytest.raises(GateError, match="the session that holds the tables has ended"):
            cross_database(spec, profile)
        thread.join(60)
    assert ended == [1]
    assert target.list_collection_names() == []
    assert leftovers(source) == []


def test_nothing_is_written_between_the_last_look_and_the_drop(
    source: psycopg.Connection[Any], target: Database[Any], profile: str, spec: str, database: str
) -> None:
    """What the new application writes while a rollback goes on is found, or fails; it is never taken and dropped."""
    source.execute('delete from "Odd ""t" where a > 5')
    assert cross_database(spec, profile).state is S.COMPLETE
    _, rejected = _tables(source)
    identity = {"a": 1, "b": "x"}
    written: list[int] = []

    def write(title: str) -> None:
        found = target["odd"].update_one({"_id": identity}, {"$set": {"title": title}})
        written.append(found.matched_count)

    def before_the_name_goes(other: psycopg.Connection[Any]) -> None:
        # The first look is over: the step wants to begin.
        assert soon(lambda: _waits(source), seconds=60)
        write("new")
        other.rollback()

    def while_it_looks(other: psycopg.Connection[Any]) -> None:
        with psycopg.connect(database) as later:
            assert soon(lambda: _waits(source), seconds=60)
            later.execute(f"lock table {rejected} in access exclusive mode".encode())
            other.rollback()
            # The documents have been read when it comes to this table.
            reads = "select 1 from pg_locks where not granted and relation = %s::regclass"
            assert soon(lambda: source.execute(reads, (rejected,)).fetchone() is not None, seconds=60)
            write("newer")

    @contextmanager
    def beside(act: Callable[[psycopg.Connection[Any]], None]) -> Iterator[None]:
        with psycopg.connect(database) as other:
            other.execute("select from changeover.steps where key = 'swap/all' for update")
            thread = threading.Thread(target=act, args=(other,))
            thread.start()
            yield
            thread.join(60)

    with beside(before_the_name_goes), pytest.raises(StateError, match="1 writes since the swap"):
        rollback("odd", profile)
    assert target["odd"].find_one({"_id": identity})["title"] == "new"  # type: ignore[index]
    write("1:x")
    with beside(while_it_looks):
        assert rollback("odd", profile).state is S.ROLLED_BACK
    assert written == [1, 1, 0]
    assert target.list_collection_names() == []
    assert leftovers(source) == []


def _copied(conn: psycopg.Connection[Any]) -> bool:
    try:
        found = conn.execute("select 1 from changeover.steps where phase = 'backfill' and state = 'done'").fetchone()
    except psycopg.errors.UndefinedTable:
        return False
    return found is not None


def _waits(conn: psycopg.Connection[Any]) -> bool:
    """Tell whether a session of ours waits for somebody else."""
    blocked = "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name like 'changeover %'"
    return conn.execute(blocked.encode()).fetchone() is not None


def _tables(source: psycopg.Connection[Any]) -> tuple[str, str]:
    row = source.execute("select nspname from pg_namespace where nspname like '\\_changeover\\_transfer%'").fetchone()
    assert row is not None
    return f'"{row[0]}".notes', f'"{row[0]}".rejected'


def _text(a: int, b: str) -> str:
    """A key as notes of rejections have it."""
    return f'("{a}","' + b.replace('"', '""') + '")'


def _unfit(amount: Decimal | None) -> bool:
    return amount is not None and len(amount.as_tuple().digits) > 34


def _document(
    a: int, b: str, amount: Decimal | None, note: str | None, seen: str | None, kind: str | None, lines: list[str]
) -> dict[str, Any] | None:
    """Say what a row should have become, without the code that has made it."""
    if _unfit(amount):
        return None
    detail: dict[str, Any] = {} if note is None else {"note": note}
    if seen is not None and (seen == "infinity" or "." in seen):
        detail["seen"] = {"pg_type": "timestamp with time zone", "pg_text": seen}
    else:
        detail["seen"] = datetime.fromisoformat(seen) if seen else None
    made = {"_id": {"a": a, "b": b}, "title": f"{a}:{b}", "amount": None if amount is None else Decimal128(amount)}
    of = [line.strip("()").split(",") for line in lines]
    return {**made, "detail": detail, "kind": kind, "lines": [{"no": int(no), "n": Decimal128(n)} for no, n in of]}
