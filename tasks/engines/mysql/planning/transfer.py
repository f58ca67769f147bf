"""Draw up the plan of a copy into a table of PostgreSQL. Nothing is changed there, nor asked."""

import re
from collections.abc import Iterator

import pymysql

from tasks.engines.mysql.inspect import estimate, inspect
from tasks.engines.mysql.key_ranges import kind_of
from tasks.engines.mysql.names import own, quote, quoted
from tasks.engines.mysql.planning.capture import Capture, refuse_uncapturable
from tasks.engines.mysql.planning.refuse import refuse_kind
from tasks.engines.mysql.planning.target_types import sent
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import tag
from tasks.engines.mysql.transfer_rows import value_name
from tasks.engines.mysql.transient import code_of
from tasks.engines.postgresql.receiving.plan import relation
from tasks.engines.receiving.columns import chosen, named_key
from tasks.engines.receiving.plan import steps
from tasks.engines.transfer_findings import left_behind, not_captured, noted, policies
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.names import MAX_BYTES
from tasks.model.names import quote as pg_quote
from tasks.model.plan import Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Risk, Step
from tasks.model.transfer import TransferSpec
from tasks.model.transfer_columns import ColumnRule
from tasks.model.transfer_steps import Relation, RowTransfer, TransferColumn

_SYSTEM = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")
_NUMBERED = ("smallint", "integer", "bigint")


def plan_transfer(conn: MariaSession, spec: MigrationSpec) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Expressions are tried on an empty table of ours, which is dropped again. Raises SpecError with the place.
    """
    wanted = spec.transfer
    assert wanted is not None
    refuse_key(spec)
    catalogue = inspect(conn, (wanted.rows_of,))
    table = catalogue.tables[0]
    refuse_kind(table)
    key = key_of(table)
    columns = tuple(_columns(conn, table, wanted, tag(spec.migration)))
    named = named_key(key, columns, table, quote)
    kinds = tuple(kind_of_key(table, name) for name in key)
    into = _relation(spec, wanted, table, columns, named)
    capture = None
    if wanted.capture != "none":
        reading = [(f"transfer.columns.{one.name}", one.expression) for one in columns]
        refuse_uncapturable(conn, table, wanted.condition, reading)
        types = tuple(column.type for name in key if (column := table.column(name)) is not None)
        capture = Capture(table=table, key=key, key_types=types, tag=tag(spec.migration), maria=conn.dialect.maria)
    action = RowTransfer(
        table=quote(table.name),
        key=key,
        key_types=kinds,
        alias=table.name,
        where=wanted.condition or "",
        columns=columns,
        target_key=named,
        into=into,
        rejected=into.rejected,
        account=into.account,
        notes=capture.notes if capture else "",
    )
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=conn.database,
        steps=tuple(_steps(table, action, capture)),
        requirements=tuple(capture.requirements()) if capture else (),
        estimates=(estimate(conn, table),),
        risk=Risk.MEDIUM,
        risk_reasons=(f"the rows of {table.full_name} are copied into another database",),
        findings=tuple(_findings(table, action)),
    )


def refuse_key(spec: MigrationSpec) -> None:
    """Refuse another key to walk along. Raises SpecError."""
    if spec.backfill.key:
        raise SpecError(
            "a table of MariaDB is walked along its primary key", where="backfill.key", hint="Leave it out."
        )


def key_of(table: Table) -> tuple[str, ...]:
    """Return the columns of the primary key. Raises SpecError where there is none."""
    key = next((index.columns for index in table.indexes if index.primary), ())
    if not key:
        raise SpecError(f"{table.full_name} has no primary key", where="transfer.table", hint="Give it one.")
    return key


def kind_of_key(table: Table, name: str) -> str:
    """Return what the text of a key column is like. Raises SpecError for a type that is no good key."""
    column = table.column(name)
    assert column is not None
    try:
        return kind_of(column.type)
    except KeyError:
        raise SpecError(
            f"rows cannot be walked along {name!r}, a {column.type}",
            where=table.full_name,
            hint="Use a primary key of integers, decimals, dates, texts or binaries.",
        ) from None


def _columns(conn: MariaSession, table: Table, wanted: TransferSpec, tag_: str) -> Iterator[TransferColumn]:
    """Yield the columns of the new table: those of the source in their order, then what else the spec asks for."""
    places = chosen(table, wanted)
    if wanted.condition is not None:
        try_condition(conn, table, wanted.condition)
    for number, (name, rule, found) in enumerate(places):
        at = f"transfer.columns.{name}"
        given = str(rule.up) if rule.up is not None else quote(found.name if found else name)
        of = found if rule.up is None else made_by(conn, table, given, own(tag_, 0, "probe"), at)
        yield _column(name, rule, given, of, value_name(number), at)


def _nothing_of(table: Table) -> str:
    return f"from {quote(table.name)} as {quote(table.name)} where false"


def try_condition(conn: MariaSession, table: Table, condition: str) -> None:
    """Refuse a condition that the server does not take. Raises SpecError."""
    _try(conn, f"select 1 {_nothing_of(table)} and ({condition}\n)", "transfer.where")


def made_by(conn: MariaSession, table: Table, expression: str, probe: str, at: str) -> Column:
    """Return the column that an expression makes."""
    # It also stands in a condition, so that whatever gives more, or less, than one value a row is refused.
    only = f"{_nothing_of(table)} and ({expression}\n) is null"
    made = f"create table {quote(probe)} engine=InnoDB as select ({expression}\n) as v {only}"
    conn.execute(f"drop table if exists {quote(probe)}")
    try:
        _try(conn, made, at)
        return inspect(conn, [probe]).tables[0].columns[0]
    finally:
        if not conn.closed:
            conn.execute(f"drop table if exists {quote(probe)}")


def _try(conn: MariaSession, query: str, at: str) -> None:
    try:
        conn.execute(query)
    except pymysql.err.MySQLError as error:
        if conn.closed:
            raise
        raise SpecError(
            f"MariaDB refuses it: error {code_of(error)}",
            where=at,
            hint="Write SQL over the columns of the table that gives one value for each row.",
        ) from None


def _column(name: str, rule: ColumnRule, expression: str, source: Column | None, value: str, at: str) -> TransferColumn:
    assert source is not None
    if name in _SYSTEM or len(name.encode()) > MAX_BYTES:
        raise SpecError(
            f"PostgreSQL does not take {name[:80]!r} as the name of a column",
            where=at,
            hint="Give it another name in `columns`, of at most 63 bytes, and none that PostgreSQL has itself.",
        )
    made = sent(source.type, value, rule.type)
    if made is None:
        kind = f"{rule.type} does not hold" if rule.type else "PostgreSQL has no type that holds"
        raise SpecError(
            f"{kind} every value of a {source.type} of MariaDB as it is",
            where=at,
            hint="Give another `type`, or an expression `up`; or leave the column out with `omit`.",
        )
    return TransferColumn(
        name=name,
        type=made.type,
        # What an expression gives need not be what it gave for no row.
        nullable=source.nullable or rule.up is not None or rule.unfit == "null",
        expression=expression,
        source_type=source.type,
        text=made.text,
        form=made.form,
        misfits=made.misfits,
        unfit=rule.unfit,
    )


def _relation(
    spec: MigrationSpec, wanted: TransferSpec, table: Table, columns: tuple[TransferColumn, ...], key: tuple[str, ...]
) -> Relation:
    identity = next((c.name for c in table.columns if c.identity), None)
    counted = next((o for o in columns if identity and o.expression == quote(identity) and o.type in _NUMBERED), None)
    lines = [_line(one, table, numbered=one is counted) for one in columns]
    if counted is None:
        return relation(spec, wanted.to, table.full_name, lines, key)
    next_number = (
        "select auto_increment from information_schema.tables where table_schema = database()"
        f" and table_name = {quoted(table.name)}"
    )
    return relation(spec, wanted.to, table.full_name, lines, key, numbered=counted.name, next_number=next_number)


def _line(one: TransferColumn, table: Table, *, numbered: bool) -> str:
    null = "" if one.nullable else " not null"
    source = next((c for c in table.columns if quote(c.name) == one.expression), None)
    default = "" if source is None else _default(source, one)
    more = " generated by default as identity" if numbered else f" default {default}" if default else ""
    return f"{pg_quote(one.name)} {one.type}{null}{more}"


def _default(source: Column, one: TransferColumn) -> str:
    """Return a default that means the same in PostgreSQL; empty where there is none, or nobody can tell."""
    text = source.default or ""
    if re.fullmatch(r"-?[0-9]+", text) and one.type.startswith((*_NUMBERED, "numeric")):
        return text
    if re.fullmatch(r"-?[0-9]+\.[0-9]+", text) and one.type.startswith("numeric"):
        return text
    if re.fullmatch(r"current_timestamp\([0-6]?\)", text, re.IGNORECASE) and one.type.startswith("timestamptz"):
        return "current_timestamp"
    plain = re.fullmatch(r"'[^'\\]*'", text) and one.type.startswith(("text", "varchar")) and "[" not in one.type
    return text if plain else ""


def _steps(table: Table, action: RowTransfer, capture: Capture | None) -> Iterator[Step]:
    if capture is None:
        return steps(table.full_name, action, "rows")
    own_steps = {"made": [capture.make()], "captured": capture.begin(), "released": capture.end()}
    return steps(table.full_name, action, "rows", **own_steps)


def _findings(table: Table, action: RowTransfer) -> Iterator[Finding]:
    full, name = table.full_name, action.into.full_name
    if action.notes:
        yield noted(full, action.notes)
        yield truncated(full)
    else:
        yield not_captured(full, "rows", instead=", or give `capture: triggers`")
    yield from policies(full, action)
    nor = f"privileges: those of {full}, and default privileges of its new schema"
    yield left_behind(table, action, _without_default(table, action), nor)
    for column in table.columns:
        found = next((one for one in action.columns if one.expression == quote(column.name)), None)
        if column.identity and found is not None and found.name != action.into.numbered:
            yield Finding(
                rule="XDB-06",
                severity="warning",
                message=f"{name} does not number rows by itself: {found.name} is {found.type}",
                where=full,
                hint=f"Write `{found.name}: {{type: bigint}}` in columns, if its numbers fit.",
            )


def truncated(full: str) -> Finding:
    """Say that nobody hears of a TRUNCATE."""
    return Finding(
        rule="XDB-07",
        severity="warning",
        message=f"TRUNCATE of {full} fires no trigger on MariaDB: the run is refused before the swap where the table"
        " was emptied so, or made anew, by OPTIMIZE TABLE, too",
        where=full,
        hint="Use DELETE until the swap. After a refusal roll back, and run again.",
    )


def _without_default(table: Table, action: RowTransfer) -> Iterator[str]:
    for one in action.columns:
        source = next((c for c in table.columns if quote(c.name) == one.expression), None)
        if source is None or source.identity:
            continue
        given = source.default is not None and source.default.upper() != "NULL"
        updated = any("on update" in option for option in source.options)
        if (given and not _default(source, one)) or updated or source.generated:
            yield one.name
