"""Rows of another table that are embedded: read exactly, in their order, and whatever is written to them arrives."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest
from bson import Binary, Decimal128, Int64
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import MongoClient
from pymongo.database import Database
from rich.console import Console

from flows.explain import explanation
from profiles.model import Limits
from tasks.engines.mongodb import follow as following
from tasks.engines.mongodb.document import Made, documents
from tasks.engines.mongodb.follow import follow
from tasks.engines.mongodb.scan import examine
from tasks.engines.postgresql import transfer_rows
from tasks.engines.postgresql.connect import connect
from tasks.engines.postgresql.planning.transfer import plan_transfer
from tasks.engines.postgresql.sessions import require_privileges
from tasks.engines.postgresql.transfer_rows import rows
from tasks.model.errors import ChangeoverError, PreflightError, SpecError
from tasks.model.plan import Plan
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tasks.model.transfer_steps import DocumentTransfer
from tests.integration.test_transfer_follow import Copy, cut

EXACT = CodecOptions[Any](datetime_conversion=DatetimeConversion.DATETIME_MS)
TABLES = """
create table customers (id int primary key, name text, seen int);
create table articles (code text primary key, title text, stock json);
insert into articles values ('x', 'X'), ('y', 'Y');
insert into customers values (7, 'Ada', 1);
create table "Odd ""o" (id int, shop char(2), customer int references customers, paid boolean default true,
  primary key (id, shop));
create table lines (order_id int, shop char(2), no int, amount numeric, at timestamptz, raw bytea, u uuid, ok boolean,
  c char(3), j jsonb, d float8, "select" text, primary key (no),
  article text references articles on update cascade deferrable initially deferred,
  foreign key (order_id, shop) references "Odd ""o" on delete cascade on update cascade);
create index on lines (shop, order_id);
create index on lines (article);
insert into "Odd ""o" values (1, 'a', 7), (2, 'a', null), (3, 'a', 7);
insert into lines values
  (1, 'a', 2, 1.10, '2026-01-02 03:04:05.678+00', '\\x00ff', '00112233-4455-6677-8899-aabbccddeeff', true, 'x',
   '{"a": 1}', 'NaN', 'z', 'x'),
  (1, 'a', 1, null, null, null, null, false, null, null, null, 'z', 'y'),
  (2, 'a', 3, 3, null, '', null, null, 'abc', 'null', '-0', 'a', 'x'),
  (null, 'a', 9, 9, null, null, null, null, null, null, null, null, 'x');
create table loose (id int, n int); create table far (id bigint primary key, o int, s char(2));
create table misc (id int primary key, o int, s char(2), p int references customers, q int references customers,
  foreign key (o, s) references "Odd ""o");
"""
EXAMPLE = Path(__file__).parents[2] / "examples" / "orders_to_mongodb.yaml"
FIELDS: dict[str, Any] = {
    "amount": {"column": "amount", "unfit": "string"},
    "at": {"column": "at", "unfit": "tag", "nulls": "missing"},
    "in.raw": "raw", "in.u": {"column": "u", "nulls": "missing"}, "in.ok": "ok", "c": "c",
    "j": {"column": "j", "nulls": "missing"}, "d": "d", "twice": {"up": "amount * 2"}, "kind": {"constant": 1},
}  # fmt: skip


def spec_of(fields: dict[str, Any], capture: str = "none", **more: Any) -> MigrationSpec:
    transfer = {
        "table": 'Odd "o', "to": {"database": "documents", "collection": "c"}, "capture": capture, "fields": fields,
    } | more  # fmt: skip
    return MigrationSpec.model_validate({"migration": "m", "strategy": "cross_database", "transfer": transfer})


def lines(fields: dict[str, Any] = FIELDS, **more: Any) -> dict[str, Any]:
    return {"embed": {"table": "lines", "order": ["select"], "fields": fields, **more}}


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[Any]]:
    with connect(database, application_name="test", search_path="public") as conn:
        conn.execute(TABLES.encode())
        yield conn


@pytest.fixture
def target(documents: str) -> Iterator[Database[Any]]:
    with MongoClient(documents) as client:
        yield client.get_default_database()


def action_of(plan: Plan) -> DocumentTransfer:
    return next(step.action for step in plan.steps if isinstance(step.action, DocumentTransfer))


def made(conn: psycopg.Connection[Any], spec: MigrationSpec) -> dict[int, Made]:
    action = action_of(plan_transfer(conn, spec, "public"))
    return {int(one.key[0]): one for one in documents(action, rows(conn, action, None, None))}


def test_rows_are_read_exactly_and_in_their_order(conn: psycopg.Connection[Any]) -> None:
    """By the columns that are named, then by the key; each type, NULL and missing, as in a document of its own."""
    name = {"lookup": {"table": "customers", "column": "name"}, "nulls": "missing"}
    found = made(
        conn, spec_of({"name": name, "lines": lines(), "few.of": {**lines(where="no > 1"), "nulls": "missing"}})
    )
    first, second, third = (bson.decode(found[n].document, EXACT) for n in (1, 2, 3))
    nothing = {"amount": None, "in": {"raw": None, "ok": False}, "c": None, "d": None, "twice": None, "kind": 1}
    whole = {
        "amount": Decimal128("1.10"), "at": DatetimeMS(1767323045678),
        "in": {"raw": b"\x00\xff", "u": Binary(bytes.fromhex("00112233445566778899aabbccddeeff"), 4), "ok": True},
        "c": "x  ", "j": {"a": Int64(1)}, "d": float("nan"), "twice": Decimal128("2.20"), "kind": 1,
    }  # fmt: skip
    identity = {"id": 1, "shop": "a "}
    assert bson.encode(first) == bson.encode(
        {"_id": identity, "name": "Ada", "lines": [nothing, whole], "few": {"of": [whole]}}
    )
    (line,) = second["lines"]
    assert bson.encode(line) == bson.encode(
        {"amount": Decimal128("3"), "in": {"raw": b"", "ok": None}, "c": "abc", "j": None, "d": -0.0,
         "twice": Decimal128("6"), "kind": 1}
    )  # fmt: skip
    assert third == {"_id": {"id": 3, "shop": "a "}, "name": "Ada", "lines": []}
    assert not any(one.touched for one in found.values())


def test_what_does_not_fit_within_is_decided_by_its_field(
    conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted before the run, with the rows that refer to nothing; one that is too large may be left out.

    Of one that is far too large the server does not send the rows.
    """
    conn.execute("update lines set amount = repeat('7', 40)::numeric, at = 'infinity' where no = 2")
    found = made(conn, spec_of({"lines": lines()}))[1]
    line = bson.decode(found.document, EXACT)["lines"][1]
    assert (line["amount"], line["at"]["pg_text"]) == ("7" * 40, "infinity")
    touched = [("lines.amount", "string"), ("lines.at", "tag"), ("lines.twice", "fail")]
    assert [(one.field, one.policy) for one in found.touched] == touched
    plan = plan_transfer(conn, spec_of({"lines": lines(FIELDS | {"twice": "no"})}), "public")
    told = {check.name: check for check in examine(conn, plan, values_in_reports=False).checks}
    assert told["rows of public.lines are of a row"].message == "1 refer to none: they are in no document"
    assert told["values of lines.at fit"].message.startswith("1 × infinity is no date")
    assert (told["values of lines.at fit"].severity, told["values of lines fit"].passed) == ("warning", True)
    conn.execute(
        'insert into lines (order_id, shop, no, "select")'
        " select 3, 'a', i, repeat('x', 900000) from generate_series(10, 29) i"
    )
    for policy in ("fail", "reject"):
        large = made(conn, spec_of({"lines": {**lines({"text": "select"}), "unfit": policy}}))[3]
        assert [(one.field, one.policy) for one in large.touched] == [("the document", policy)]
    conn.execute("delete from lines where no > 26")
    padded = spec_of({"pad": {"constant": "x" * 2_000_000}, "lines": lines({"text": "select"})})
    checks = examine(conn, plan_transfer(conn, padded, "public"), values_in_reports=False).checks
    failed = [check.name for check in checks if check.severity == "error" and not check.passed]
    assert failed == ["values of the document fit"]
    few = spec_of({"lines": {**lines({"text": "select"}), "unfit": "reject"}})
    monkeypatch.setattr(transfer_rows, "MOST_TEXT", 1_000_000)
    conn.execute("delete from lines where no > 3; update lines set \"select\" = repeat('x', 2000000) where no = 3")
    found = made(conn, few)
    assert [one.reason for one in found[2].rejected] == [
        "more rows than fit into 16 MiB, or more than 64 MiB of them as text"
    ]
    assert not found[1].touched
    monkeypatch.setattr(transfer_rows, "_MOST_BYTES", 3 * 14 - 1)
    conn.execute("delete from lines")
    conn.execute("insert into lines select o, 'a', 10 * o + n from generate_series(1, 3) o, generate_series(o, 3) n")
    assert [len(one.rejected) for one in made(conn, few).values()] == [1, 0, 0]


def test_the_example(conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        "create table orders (id int primary key, status text, placed_at timestamptz);"
        "create table order_lines (order_id int references orders, position int, article text, quantity int,"
        " price numeric, primary key (order_id, position));"
        "insert into orders values (1, 'open', '2026-01-02'); insert into order_lines select 1, i, 'a' || i, i - 1, 1.5"
        " from generate_series(1, 3) i"
    )
    text = EXAMPLE.read_text(encoding="utf-8")
    (found,) = made(conn, parse(text, "example")).values()
    assert [(one["article"], str(one["total"])) for one in bson.decode(found.document)["lines"]] == [
        ("a2", "1.5"), ("a3", "3.0"),
    ]  # fmt: skip


def test_the_plan_shows_what_is_embedded(conn: psycopg.Connection[Any]) -> None:
    fields = {"lines": lines({"amount": {"column": "amount", "unfit": "reject"}}, where="no > 0")}
    plan = plan_transfer(conn, spec_of(fields, "triggers"), "public")
    assert [step.key for step in plan.steps if step.phase.value == "dual_write"] == [
        'dual_write/public.Odd "o/notes', "dual_write/public.lines/notes1",
    ]  # fmt: skip
    twice = plan_transfer(conn, spec_of(fields | {"all": lines()}, "triggers"), "public").requirements
    assert len({(one.name, one.gate) for one in twice}) == len(twice) == len(plan.requirements) + 1
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(explanation(plan, {}, Limits(), sql=True))
    told = console.export_text()
    for line in (
        "lines: rows of public.lines that refer to this one, where no > 0:",
        'amount: decimal of "amount" (numeric), reject what does not fit',
        "lines.amount: a value that does not fit: its row is left out",
        "every write to public.lines also notes the key",
    ):
        assert line in told, told


REFUSED: list[tuple[dict[str, Any], str, type[ChangeoverError], str]] = [
    ({"x": {"embed": {"table": "loose", "fields": {"n": "n"}}}}, "none", SpecError, "has no foreign key to"),
    ({"x": {"embed": {"table": "misc", "fields": {"n": "id"}}}}, "none", PreflightError, "no index of public.misc"),
    ({"x": lines({"n": "nobody"})}, "none", SpecError, "has no column 'nobody'"),
    ({"x": lines({"n": {"up": "customer"}})}, "none", SpecError, 'column "customer" does not exist'),
    ({"x": lines({"n": {"up": "count(*)"}})}, "none", SpecError, "aggregate functions are not allowed"),
    ({"x": lines(order=["nobody"])}, "none", SpecError, "has no column 'nobody'"),
    ({"x": lines(where="no + 1")}, "none", SpecError, "must be type boolean"),
    ({"x": {"lookup": {"table": "customers", "up": "paid"}}}, "none", SpecError, 'column "paid" does not exist'),
    (
        {"x": {"lookup": {"table": "lines", "column": "no"}}},
        "none",
        SpecError,
        "has no foreign key to public.l",
    ),
    (
        {"x": {"lookup": {"table": "customers", "column": "name"}}},
        "triggers",
        PreflightError,
        "begins with customer",
    ),
    (
        {"x": lines({"n": {"lookup": {"table": "articles", "up": "(select max(no) from lines)"}}})},
        "triggers",
        SpecError,
        "reads lines, too",
    ),
    ({"x": lines({"n": {"up": "(select max(no) from lines)"}})}, "triggers", SpecError, "reads lines, too"),
]


def test_what_cannot_be_embedded_is_refused_with_its_place(conn: psycopg.Connection[Any]) -> None:
    for fields, capture, error, match in REFUSED:
        with pytest.raises(error, match=match) as refused:
            plan_transfer(conn, spec_of(fields, capture), "public")
        assert refused.value.where.startswith("transfer")


def test_rows_that_a_plain_comparison_does_not_find_are_refused(conn: psycopg.Connection[Any]) -> None:
    """A period lies within others; another collation has another equality; an index may have other columns first."""
    conn.execute(
        "create table spans (id int4range, valid daterange, name text, primary key (id, valid without overlaps));"
        'create table refers (id int primary key, span int4range, valid daterange, article text collate "C",'
        " foreign key (span, period valid) references spans);"
        'alter table refers add column c text collate "C" unique;'
        "create table within (id int primary key, a int references refers, c text references refers (c), n int);"
        'create index on within (n) include (a, id); create index on within (c collate "POSIX")'
    )

    def refused(fields: dict[str, Any]) -> str:
        with pytest.raises(PreflightError) as error:
            plan_transfer(conn, spec_of(fields, table="refers"), "public")
        return error.value.what

    assert "compares periods of time" in refused({"x": {"lookup": {"table": "spans", "column": "name"}}})
    within: dict[str, Any] = {"embed": {"table": "within", "by": ["a"], "fields": {"n": "n"}}}
    assert "no index of public.within begins with a:" in refused({"x": within})
    conn.execute("create index on within (a) include (n)")
    plan_transfer(conn, spec_of({"x": within}, table="refers"), "public")
    within["embed"]["by"] = ["c"]
    assert "c of public.within and c of public.refers have different collations" in refused({"x": within})
    conn.execute('alter table within alter c type text collate "C"')
    assert "no index of public.within begins with c:" in refused({"x": within})
    conn.execute("alter table within add column made json; create table heir () inherits (within)")
    assert "other tables inherit from public.within" in refused({"x": within})
    conn.execute("drop table heir")
    within["embed"] |= {"by": ["a"], "order": ["made"]}
    with pytest.raises(SpecError, match="could not identify an ordering operator for type json"):
        plan_transfer(conn, spec_of({"x": within}, table="refers"), "public")


def test_who_only_reads_need_not_own(conn: psycopg.Connection[Any]) -> None:
    """Without capture nothing is done to the tables; with it, triggers are made on all of them."""
    plans = [plan_transfer(conn, spec_of({"lines": lines()}, capture), "public") for capture in ("none", "triggers")]
    role = f"reader_{conn.info.backend_pid}"
    conn.execute(f'create role {role}; grant select on "Odd ""o" to {role}; set role {role}'.encode())

    def refused(plan: Plan) -> str:
        with pytest.raises(PreflightError) as error:
            require_privileges(conn, plan)
        return error.value.what.removeprefix(f"the role {role} ")

    try:
        assert refused(plans[0]) == "may not read public.lines"
        conn.execute(f"reset role; grant select on lines to {role}; set role {role}".encode())
        require_privileges(conn, plans[0])
        assert refused(plans[1]) == 'does not own public.Odd "o'
        conn.execute(f"reset role; alter table lines enable row level security; set role {role}".encode())
        assert refused(plans[0]) == "may not read all rows of public.lines"
    finally:
        conn.execute(f"reset role; drop owned by {role}; drop role {role}".encode())


ORDER = ' order by "select", no'
OF = f"from lines l where (l.order_id, l.shop) = (o.id, o.shop){ORDER}"
WRITES = {
    "a row that comes": "insert into lines values (3, 'a', 11, 5)",
    "one that goes": "delete from lines where no = 2",
    "one that changes": "update lines set amount = 8 where order_id = 2",
    "one that moves to another": "update lines set order_id = 3 where no = 2",
    "one that leaves all": "update lines set order_id = null where no = 2",
    "one that was of none": "update lines set order_id = 3 where no = 9",
    "the row that they refer to goes": "delete from \"Odd \"\"o\" where id = 1",
    "its key changes": "update \"Odd \"\"o\" set id = 100 where id = 1",
    "it leaves the filter, and they are written": "update \"Odd \"\"o\" set paid = false where id = 1;"
    " update lines set amount = 3",
    "one does not fit": f"update lines set amount = {'7' * 40} where no = 2",
    "one does not fit, and is corrected": f"update lines set amount = {'7' * 40}; update lines set amount = 2",
    "all of them are emptied": "truncate lines",
    "they are emptied twice, and some come": "truncate lines; insert into lines values (3, 'a', 11, 5); truncate lines;"
    " insert into lines values (2, 'a', 12, 5)",
    "everything is emptied, and some comes": "truncate \"Odd \"\"o\" cascade;"
    " insert into \"Odd \"\"o\" values (5, 'b');"
    " insert into lines values (5, 'b', 11, 5)",
    "what is looked up changes": "update customers set name = 'Eve'; update articles set title = 'Z', stock = '1'"
    " where code = 'x'",
    "its key changes, and another comes in its place": "update articles set code = 'z' where code = 'y'; begin;"
    " delete from articles where code = 'x'; insert into articles values ('x', 'new'); commit",
    "what nothing refers to comes and goes": "insert into articles values ('n', 'N'); delete from articles where code ="
    " 'n'; update customers set seen = 5; update articles set stock = '2'",
    "another server wrote": "set session_replication_role = replica; update lines set amount = 4; reset"
    " session_replication_role",
    "what is undone": "begin; truncate lines; rollback",
}  # fmt: skip


def test_what_is_written_to_embedded_rows_arrives(
    conn: psycopg.Connection[Any], target: Database[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is carried it is no difference, for it is noted; afterwards nothing is noted, and all is equal.

    Each bite is written in parts.
    """
    monkeypatch.setattr(following, "BATCH_BYTES", 800)
    title = {"lookup": {"table": "articles", "up": "upper(title)"}}
    amounts = {"amount": {"column": "amount", "unfit": "reject"}, "no": "no", "title": title}
    name = {"lookup": {"table": "customers", "column": "name", "by": ["customer"]}}
    fields = {"paid": "paid", "name": name, "lines": lines(amounts)}
    conn.execute('create index on "Odd ""o" (customer)')
    copy = Copy(conn, target, spec_of(fields, "triggers", where="paid"))
    for what, write in WRITES.items():
        conn.execute('truncate "Odd ""o" cascade; delete from articles')
        conn.execute("insert into articles values ('x', 'X'), ('y', 'Y'); update customers set name = 'Ada'")
        copy.follow(1000)
        assert target["c"].count_documents({}) == 0
        conn.execute(TABLES[TABLES.index('insert into "Odd') : TABLES.index("create table loose")].encode())
        conn.execute('insert into "Odd ""o" select i, \'z\' from generate_series(200, 208) i')
        copy.follow(5)
        for statement in write.split(";"):
            conn.execute(statement.encode())
        # Only of what may be looked up.
        assert copy.notes == 1 or what != "what nothing refers to comes and goes"
        before = copy.compare()
        assert before.emptied or (before.differing, before.superfluous, before.not_noted) == (0, 0, 0), what
        assert before.equal is not before.emptied
        copy.follow(5)
        after = copy.compare()
        assert (copy.notes, after.equal, after.unsettled) == (0, True, 0), what
        kept = conn.execute(
            "select o.id, (select name from customers c where c.id = o.customer),"
            f" array(select l.amount::text {OF}),"
            f" array(select (select upper(title) from articles where code = article) {OF})"
            ' from "Odd ""o" o where paid and o.id < 200'
            f" and not exists (select {OF.removesuffix(ORDER)} and length(l.amount::text) > 34) order by o.id".encode()
        ).fetchall()
        found = [
            (
                one["_id"]["id"],
                one["name"],
                [line["amount"] and str(line["amount"]) for line in one["lines"]],
                [line["title"] for line in one["lines"]],
            )
            for one in target["c"].find({"_id.id": {"$lt": 200}}).sort({"_id": 1})
        ]
        assert found == kept, what


def test_what_is_looked_up_may_be_written_all_the_time(conn: psycopg.Connection[Any], target: Database[Any]) -> None:
    """Other notes are carried meanwhile, it ends, each row is noted once, and none for what is not in documents."""
    title = {"lookup": {"table": "articles", "column": "title"}}
    copy = Copy(conn, target, spec_of({"lines": lines({"amount": "amount", "title": title})}, "triggers"))
    conn.execute('insert into "Odd ""o" select i, \'z\' from generate_series(200, 260) i')
    conn.execute('update "Odd ""o" set paid = true')
    bites: list[int] = []

    def between(size: int) -> int:
        bites.append(size)
        assert len(bites) < 40
        conn.execute("update articles set title = title || '+'")
        return 5

    follow(conn, target["c"], copy.action, Limits(), lambda _: None, between)
    assert target["c"].count_documents({}) == 64
    copy.follow(1000)
    copy.follow(1000)
    assert copy.compare().equal
    assert copy.notes == 0
    for _ in range(9):
        conn.execute("update articles set title = title || '+'")
    noted = []

    def counted(size: int) -> int:
        row = conn.execute(f"select count(*) from {copy.action.notes} where _changeover_lookup = 0".encode()).fetchone()
        noted.append(row and row[0])
        return 5

    follow(conn, target["c"], copy.action, Limits(), lambda _: None, counted)
    assert (max(noted), copy.notes, copy.compare().equal) == (2, 0, True)
    (since,) = [one.violations.encode() for one in copy.plan.requirements if one.gate == "before_contract"]
    conn.execute("insert into articles values ('n', 'N'); update articles set title = 'late'")
    assert (copy.notes > 0, conn.execute(since).fetchall()) == (True, [])
    conn.execute("update lines set amount = 5 where no = 3")
    assert conn.execute(since).fetchall() == [(2, "a ")]


def test_embedded_rows_may_be_emptied_all_the_time(conn: psycopg.Connection[Any], target: Database[Any]) -> None:
    """What was begun comes to its end before the next; and a key that is equal is that of its row."""
    conn.execute("create table p (n numeric primary key); create table c (i int primary key, p numeric references p)")
    conn.execute("create index on c (p); insert into p select * from generate_series(1, 60)")
    fields = {"_id": {"column": "n", "type": "string"}, "c": {"embed": {"table": "c", "fields": {"i": "i"}}}}
    copy = Copy(conn, target, spec_of(fields, "triggers", table="p"))
    conn.execute("update p set n = n")
    bites: list[int] = []

    def between(size: int) -> int:
        bites.append(size)
        assert len(bites) < 60
        conn.execute("truncate c")
        return 5

    conn.execute("truncate c")
    follow(conn, target["c"], copy.action, Limits(), lambda _: None, between)
    assert target["c"].count_documents({}) == 60
    assert copy.compare().emptied
    copy.follow(1000)
    assert (copy.notes, copy.compare().equal) == (0, True)
    conn.execute("insert into c values (1, 7.00)")
    noted = copy.compare()
    assert (noted.equal, noted.unsettled) == (True, 1)


def test_nobody_writes_to_embedded_rows_while_the_collection_is_named(
    conn: psycopg.Connection[Any], target: Database[Any], database: str
) -> None:
    """A writer in flight is waited for, and its write is the last that arrives."""
    title = {"lookup": {"table": "articles", "column": "title"}}
    copy = Copy(conn, target, spec_of({"lines": lines({"amount": "amount", "title": title})}, "triggers"))
    conn.execute("update lines set amount = 3")
    tried: list[bool] = []

    def put(_: str) -> None:
        with (
            psycopg.connect(database, autocommit=True, options="-c lock_timeout=50ms") as other,
            pytest.raises(psycopg.errors.LockNotAvailable),
        ):
            other.execute("update articles set title = 'too early'")
        tried.append(True)

    with psycopg.connect(database) as other:
        other.execute("update lines set amount = 5 where no = 3; update articles set title = 'late' where code = 'x'")
        ending = threading.Timer(0.7, other.commit)
        ending.start()
        cut(copy, put, patience=30)
        ending.join()
    assert tried == [True]
    (line,) = target["c"].find_one({"_id.id": 2})["lines"]  # type: ignore[index]
    assert (str(line["amount"]), line["title"]) == ("5", "late")
