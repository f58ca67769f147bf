"""Draw up the plan of a copy into a collection of MongoDB. Nothing is changed, and MongoDB is not asked."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import estimates
from tasks.engines.postgresql.planning.capture import (
    Capture,
    base_types,
    capture_of,
    columns_read,
    expressions_of,
    published,
    refuse_uncapturable,
    refuse_unnoted,
    refuse_unnoted_lookup,
)
from tasks.engines.postgresql.planning.checks.obstacles import unfinished
from tasks.engines.postgresql.planning.embedding import fields_of
from tasks.engines.postgresql.planning.keys import key_columns
from tasks.engines.postgresql.planning.other_tables import Tables, read_tables
from tasks.engines.postgresql.planning.risk import risk
from tasks.engines.postgresql.planning.shadow.obstacles import choose_key
from tasks.engines.postgresql.planning.transfer_fields import Types
from tasks.engines.transfer_findings import not_captured, noted
from tasks.engines.transfer_plan import accounted, into_collection, misfits
from tasks.model.catalogue import Catalogue, Table
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step
from tasks.model.transfer import ID
from tasks.model.transfer_steps import Collection, DocumentTransfer, LookedUp, TransferField


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
    assert wanted.to.collection is not None
    tables = read_tables(conn, wanted, search_path)
    table = tables.find(wanted.rows_of)
    for one in tables.catalogue.tables:
        unfinished(conn, one, spec.migration)
    given = spec.backfill.key.get(table.full_name) or spec.backfill.key.get(table.name)
    key = choose_key(table, table, given).columns
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        types = Types(conn, table, key, tables)
        types.require_condition(wanted.condition)
        fields = tuple(fields_of(types, wanted))
        if wanted.capture != "none":
            refuse_uncapturable(conn, table, wanted, key, expressions_of(fields))
            _refuse_unnoted(conn, tables, table, key, fields)
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
    captures = _captures(conn, tables, table, action, helpers, search_path) if action.notes else ()
    sizes = estimates(conn, tables.catalogue.tables)
    steps = tuple(_steps(table, action, helpers, captures))
    findings = tuple(_findings(tables.catalogue, table, action))
    level, reasons = risk(spec, steps, sizes, findings)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=tables.catalogue,
        search_path=search_path,
        steps=steps,
        requirements=tuple(_requirements(table, action, captures)),
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


def _refuse_unnoted(
    conn: Connection, tables: Tables, table: Table, key: tuple[str, ...], fields: tuple[TransferField, ...]
) -> None:
    """Refuse what documents are made of besides, where it cannot be noted whose it is."""
    for field in fields:
        at = f"transfer.fields.{'.'.join(field.path)}"
        if field.lookup is not None:
            refuse_unnoted_lookup(conn, table, tables.at(field.lookup.full_name), field.lookup, at)
        if field.rows is None:
            continue
        child = tables.at(field.rows.full_name)
        refuse_unnoted(conn, table, key, child, field.rows, at)
        for inner in field.rows.fields:
            if inner.lookup is not None:
                refuse_unnoted_lookup(conn, child, tables.at(inner.lookup.full_name), inner.lookup, at)


def _captures(
    conn: Connection, tables: Tables, table: Table, action: DocumentTransfer, helpers: _Helpers, search_path: str
) -> tuple[Capture, ...]:
    """Return what notes the rows that are written, then what notes those of which other tables have something."""
    keys = base_types(conn, table, action.key)
    others = [field.rows for field in action.embedded if field.rows is not None]
    lookups = [lookup for lookup, _ in action.lookups]
    told = tuple(rows.full_name for rows in others)

    def one(number: int, of: Table, columns: tuple[str, ...]) -> Capture:
        beside = () if number else told
        return capture_of(of, action.key, keys, helpers.schema, columns=columns, number=number, others=beside)

    def looked_up(number: int, lookup: LookedUp) -> Capture:
        other = tables.at(lookup.full_name)
        read = columns_read(conn, other, lookup.expression, search_path)
        return replace(one(len(others) + number, other, lookup.key), lookup=number, read=read)

    return (
        one(0, table, action.key),
        *(one(number, tables.at(rows.full_name), rows.columns) for number, rows in enumerate(others, 1)),
        *(looked_up(number, lookup) for number, lookup in enumerate(lookups, 1)),
    )


def _steps(table: Table, action: DocumentTransfer, helpers: _Helpers, captures: tuple[Capture, ...]) -> Iterator[Step]:
    full = table.full_name
    drop = tuple(f"drop table if exists {helpers.at(name)}" for name in ("place", "rejected", "account"))
    noted = tuple(statement for one in reversed(captures) for statement in one.drop_notes())
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
                *(statement for one in captures for statement in one.create_notes()),
            ),
            inverse=gone,
        ),
    )
    yield from into_collection(full, action, captured=(one.step() for one in captures))
    yield Step(
        key=f"contract/{full}/tables",
        phase=Phase.CONTRACT,
        title="drop the tables of the copy, with the notes of rejected rows"
        + (", and the triggers" if captures else ""),
        action=ShortTransaction(
            locks=tuple(Lock(table=one, mode=LockMode.ACCESS_EXCLUSIVE) for one in action.tables if captures),
            guard=bool(captures),
            forward=(*(statement for one in captures for statement in one.drop_triggers()), *gone),
        ),
    )


def _requirements(table: Table, action: DocumentTransfer, captures: tuple[Capture, ...]) -> Iterator[Requirement]:
    for one in captures:
        yield from one.requirements()
    yield from accounted(table.full_name, f"select shard from {action.account} where read <> written + rejected")


def _findings(catalogue: Catalogue, table: Table, action: DocumentTransfer) -> Iterator[Finding]:
    for read in catalogue.tables:
        if not action.notes:
            yield not_captured(read.full_name, "rows", instead=", or give `capture: triggers`")
        else:
            yield noted(read.full_name, action.notes)
    for embedded in action.embedded:
        yield Finding(
            rule="XDB-14",
            severity="note",
            message=f"{'.'.join(embedded.path)}: rows of {embedded.source_type} that refer to no row, or to one that is"
            " not copied, are in no document",
            where=table.full_name,
        )
    yield from published(table, action.account)
    yield from misfits(table.full_name, _named(action.fields))


def _named(fields: tuple[TransferField, ...], within: str = "") -> Iterator[tuple[str, TransferField]]:
    for field in fields:
        name = f"{within}{'.'.join(field.path)}"
        yield name, field
        if field.rows is not None:
            yield from _named(field.rows.fields, f"{name}.")
