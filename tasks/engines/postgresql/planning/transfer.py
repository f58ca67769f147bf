"""Draw up the plan of a copy into a collection of MongoDB. Nothing is changed, and MongoDB is not asked."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import estimates, inspect
from tasks.engines.postgresql.planning.capture import Capture, base_types, refuse_uncapturable
from tasks.engines.postgresql.planning.checks.obstacles import unfinished
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.risk import risk
from tasks.engines.postgresql.planning.shadow.obstacles import choose_key
from tasks.engines.transfer_findings import not_captured, noted
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import LockMode, Phase, ShortTransaction, Step
from tasks.model.transfer import ID, FieldRule, TransferSpec
from tasks.model.transfer_steps import Collection, DocumentTransfer
from tasks.model.transfer_steps import TransferField as Field

_HOLDS = {
    "smallint": "int32",
    "integer": "int32",
    "bigint": "int64",
    "numeric": "decimal",
    "real": "double",
    "double precision": "double",
    "boolean": "boolean",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "name": "string",
    "bytea": "binary",
    "uuid": "uuid",
    "timestamp with time zone": "date",
    "json": "json",
    "jsonb": "json",
}
_ASKED_FOR = {
    "date": ("timestamp with time zone", "timestamp without time zone", "date"),
    "objectId": ("text", "character varying", "character", "bytea"),
    "extended_json": ("json", "jsonb"),
}
"""What a `type` takes; `string` takes everything."""
_IDS = ("int32", "int64", "string", "binary", "uuid", "objectId")
"""What tells documents apart: equal in MongoDB exactly where it is equal in PostgreSQL."""


@dataclass(frozen=True, kw_only=True)
class _Helpers:
    """The tables of a transfer, in a schema of their own."""

    schema: str

    def at(self, name: str) -> str:
        """Name one, quoted and qualified."""
        return f"{quote(self.schema)}.{quote(name)}"


def plan_transfer(conn: Connection, spec: MigrationSpec, search_path: str) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Raises SpecError and PreflightError with the place in the spec. Locks: ACCESS SHARE on the table.
    """
    wanted = spec.transfer
    assert wanted is not None
    if wanted.to.collection is None:
        raise SpecError(
            "rows of PostgreSQL go into a collection of MongoDB",
            where="transfer.to",
            hint="Write `collection`, not `table`; within PostgreSQL, use its own logical replication.",
        )
    catalogue = inspect(conn, (wanted.rows_of,), search_path)
    table = catalogue.tables[0]
    if table.kind not in ("table", "partitioned table"):
        raise PreflightError(
            f"{table.full_name} is a {table.kind}", where="transfer.table", hint="Name a table with a key."
        )
    unfinished(conn, table, spec.migration)
    given = spec.backfill.key.get(table.full_name) or spec.backfill.key.get(table.name)
    key = choose_key(table, table, given).columns
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        types = _Types(conn, table, key)
        types.require_condition(wanted.condition)
        fields = tuple(_fields(types, wanted, key))
        if wanted.capture != "none":
            refuse_uncapturable(conn, table, wanted, key, fields)
    digest = hashlib.sha256(f"{spec.migration}\0{table.full_name}".encode()).hexdigest()[:12]
    helpers = _Helpers(schema=f"{OWN_PREFIX}transfer_{digest}")
    columns = {column.name: column.type for column in table.columns}
    action = DocumentTransfer(
        table=f"{quote(table.schema_name)}.{quote(table.name)}",
        key=key,
        key_types=tuple(columns[name] for name in key),
        alias=table.name,
        where=wanted.condition or "",
        fields=fields,
        given_id=ID in wanted.fields and wanted.fields[ID].column not in _unique(table),
        into=Collection(database=wanted.to.database, name=wanted.to.collection, place=helpers.at("place"), does="make"),
        rejected=helpers.at("rejected"),
        account=helpers.at("account"),
        notes=helpers.at("notes") if wanted.capture != "none" else "",
    )
    capture = _capture(conn, table, action, helpers) if action.notes else None
    sizes = estimates(conn, catalogue.tables)
    steps = tuple(_steps(table, action, helpers, capture))
    findings = tuple(_findings(table, action))
    level, reasons = risk(spec, steps, sizes, findings)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=search_path,
        steps=steps,
        requirements=tuple(_requirements(table, action, capture)),
        estimates=sizes,
        risk=level,
        risk_reasons=reasons,
        findings=findings,
    )


def _unique(table: Table) -> set[str]:
    """Columns that tell rows apart by themselves."""
    found = set()
    for index in table.indexes:
        columns = key_columns(table, index)
        plain = index.unique and index.valid and index.immediate and not index.partial and not index.expressions
        if plain and not index.without_overlaps and len(columns) == 1:
            column = table.column(columns[0])
            if column is not None and not column.nullable:
                found.add(column.name)
    return found


class _Types:
    """Asks the server for the types of expressions over a table."""

    def __init__(self, conn: Connection, table: Table, key: tuple[str, ...]) -> None:
        self.conn = conn
        self.table = table
        self._from = f"{quote(table.schema_name)}.{quote(table.name)} as {quote(table.name)}"
        self._key = ", ".join(map(quote, key))

    def require_condition(self, where: str | None) -> None:
        """Refuse what is no condition on one row."""
        if where is not None:
            self._ask("transfer.where", f"select {self._key} from {self._from} where false and ({where}\n)")

    def of(self, expression: str, at: str) -> tuple[str, bool]:
        """Return the type of an expression, a domain's as its base, and whether it is an enum.

        It also stands in a condition, so that whatever gives more, or less, than one value a row is refused.
        """
        found = self._ask(
            at,
            f"select ({expression}\n) as v from {self._from} where false and ({expression}\n) is null"
            f" and ({self._key}) is not null",
        )
        row = self.conn.execute(
            "select pg_catalog.format_type(oid, null), typtype = 'e' from pg_catalog.pg_type where oid = %s", (found,)
        ).fetchone()
        assert row is not None
        return str(row[0]), bool(row[1])

    def _ask(self, at: str, query: str) -> int:
        try:
            with self.conn.transaction():
                cursor = self.conn.execute(query)
        except psycopg.Error as error:
            raise SpecError(
                f"PostgreSQL refuses it: {error.diag.message_primary or type(error).__name__}",
                where=at,
                hint="Write SQL over the columns of the table that gives one value for each row.",
            ) from None
        assert cursor.description is not None
        return cursor.description[0].type_code


def _fields(types: _Types, wanted: TransferSpec, key: tuple[str, ...]) -> Iterator[Field]:
    """Yield the fields of a document, `_id` first."""
    if ID in wanted.fields:
        yield _field(types, (ID,), wanted.fields[ID], f"transfer.fields.{ID}")
    else:
        for column in key:
            where = (ID,) if len(key) == 1 else (ID, column)
            if "." in column or column.startswith("$"):
                raise SpecError(f"{column!r} is no name of a field", where="transfer.fields", hint="Give _id.")
            yield _field(types, where, FieldRule(column=column), "transfer.fields (_id, from the key)")
    for path, rule in wanted.fields.items():
        if path != ID:
            yield _field(types, tuple(path.split(".")), rule, f"transfer.fields.{path}")


def _field(types: _Types, path: tuple[str, ...], rule: FieldRule, at: str) -> Field:
    if rule.constant is not None:
        return Field(path=path, holds="constant", constant=rule.constant)
    if rule.column is not None and types.table.column(rule.column) is None:
        raise SpecError(
            f"{types.table.full_name} has no column {rule.column!r}", where=at, hint="Correct the name of the column."
        )
    expression = quote(rule.column) if rule.column is not None else rule.up
    assert expression is not None
    name, enum = types.of(expression, at)
    holds = "string" if enum else _HOLDS.get(name)
    if rule.type == "string":
        holds = "string"
    elif rule.type is not None:
        holds = rule.type if name in _ASKED_FOR[rule.type] else None
    if holds is None:
        moment = name in _ASKED_FOR["date"] and rule.type != "date"
        raise SpecError(
            f"a {name} is no {rule.type}" if rule.type is not None else f"MongoDB has no counterpart of {name}",
            where=at,
            hint="Write `type: string` to have PostgreSQL's text"
            + (", or `type: date` to take it as UTC." if moment else ", or an expression of another type."),
        )
    if path[0] == ID and holds not in _IDS:
        raise SpecError(
            f"a {name} does not tell documents apart: it may be unfit, or equal where PostgreSQL says it is not",
            where=at,
            hint="Give an _id of integers, a text, a uuid or bytea; `type: string` makes a text.",
        )
    return Field.model_validate(
        {
            "path": path,
            "holds": holds,
            "expression": expression,
            "source_type": name,
            "unfit": rule.unfit,
            "nulls": rule.nulls,
        }
    )


def _capture(conn: Connection, table: Table, action: DocumentTransfer, helpers: _Helpers) -> Capture:
    return Capture(
        full_name=table.full_name,
        table=action.table,
        key=action.key,
        key_bases=base_types(conn, table, action.key),
        notes=action.notes,
        function=helpers.at("note"),
        tag=helpers.schema.removeprefix(f"{OWN_PREFIX}transfer_"),
        shape=tuple(f"{column.name} {column.type}" for column in table.columns),
    )


def _steps(table: Table, action: DocumentTransfer, helpers: _Helpers, capture: Capture | None) -> Iterator[Step]:
    full, into = table.full_name, action.into
    there = f"{into.name} in {into.database}"
    drop = tuple(f"drop table if exists {helpers.at(name)}" for name in ("place", "rejected", "account"))
    noted = capture.drop_notes() if capture else ()
    gone = (*noted, *drop, f"drop schema if exists {quote(helpers.schema)}")
    yield Step(
        key=f"expand/{full}/tables",
        phase=Phase.EXPAND,
        title=f"make the tables of the copy: {helpers.schema}",
        undo="drop them",
        action=ShortTransaction(
            forward=(
                f"create schema {quote(helpers.schema)}",
                # Committed before anything is made under its name.
                # With a key: a publication for all tables refuses updates of what has none.
                f"create table {helpers.at('place')}"
                " (token uuid primary key default pg_catalog.gen_random_uuid(), collection uuid)",
                f"insert into {helpers.at('place')} default values",
                f"create table {helpers.at('rejected')} (key text not null, field text not null, reason text not null,"
                " at timestamptz not null default pg_catalog.clock_timestamp(), primary key (key, field))",
                f"create table {helpers.at('account')} (shard integer primary key, read bigint not null,"
                " written bigint not null, rejected bigint not null)",
                *(capture.create_notes() if capture else ()),
            ),
            inverse=gone,
        ),
    )
    yield Step(
        key=f"expand/{full}/collection",
        phase=Phase.EXPAND,
        title=f"make the collection that becomes {there}",
        undo="drop it",
        action=into,
    )
    if capture:
        yield capture.step()
    yield Step(
        key=f"backfill/{full}/copy",
        phase=Phase.BACKFILL,
        title=f"copy the rows of {full}",
        undo="nothing: the copy goes with its collection",
        action=action,
    )
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"give the collection its name: {there}" + (", with the last writes in it" if capture else ""),
        undo="take the name away again",
        action=into.model_copy(update={"does": "put"}),
    )
    yield Step(
        key=f"contract/{full}/tables",
        phase=Phase.CONTRACT,
        title="drop the tables of the copy, with the notes of rejected rows"
        + (", and the triggers" if capture else ""),
        action=ShortTransaction(
            locks=capture.lock(LockMode.ACCESS_EXCLUSIVE) if capture else (),
            guard=capture is not None,
            forward=(*(capture.drop_triggers() if capture else ()), *gone),
        ),
    )


def _requirements(table: Table, action: DocumentTransfer, capture: Capture | None) -> Iterator[Requirement]:
    if capture:
        yield from capture.requirements()
    for gate in ("before_swap", "after_swap"):
        yield Requirement.model_validate(
            {
                "name": "rows read = rows written + rows rejected",
                "table": table.full_name,
                "kind": "parity",
                "gate": gate,
                "violations": f"select shard from {action.account} where read <> written + rejected",
            }
        )


def _findings(table: Table, action: DocumentTransfer) -> Iterator[Finding]:
    if action.notes:
        yield noted(table.full_name, action.notes)
    else:
        yield not_captured(table.full_name, "rows", instead=", or give `capture: triggers`")
    for one in table.dependents:
        if one.kind == "publication" and "for all tables" in one.definition:
            yield Finding(
                rule="XDB-04",
                severity="warning",
                message=f"the publication {one.name} sends all tables: also those of the ledger, in changeover, and"
                f" {action.account}, with the others of its schema",
                where=table.full_name,
                hint="A subscriber stops at the first row of a table that it does not have: create these tables there,"
                " or let the publication name its tables for the time of the migration.",
            )
    for field in action.fields:
        if field.unfit != "fail":
            yield Finding(
                rule="XDB-02",
                severity="note",
                message=f"{'.'.join(field.path)}: a value that does not fit: {_POLICIES[field.unfit]}",
                where=table.full_name,
            )


_POLICIES = {
    "reject": "its row is left out, and noted with the reason",
    "string": "becomes the text of PostgreSQL",
    "tag": "becomes a document with its type and its text",
}
