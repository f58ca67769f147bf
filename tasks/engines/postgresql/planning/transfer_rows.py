"""Draw up the plan of a copy into a table of MariaDB. Nothing is changed, and MariaDB is not asked."""

import re
from collections.abc import Iterator

from tasks.engines.mysql.receiving.plan import relation, require_key, require_names, require_width
from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import estimates, inspect
from tasks.engines.postgresql.planning.capture import Capture, base_types, capture_of, published, refuse_uncapturable
from tasks.engines.postgresql.planning.checks.obstacles import unfinished
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.evaluated import Evaluated
from tasks.engines.postgresql.planning.risk import risk
from tasks.engines.postgresql.planning.sent_to_mariadb import sent_to_mariadb
from tasks.engines.postgresql.planning.shadow.obstacles import choose_key
from tasks.engines.postgresql.rows import value_name
from tasks.engines.receiving.columns import chosen, named_key
from tasks.engines.receiving.plan import steps
from tasks.engines.transfer_findings import left_behind, not_captured, noted, policies
from tasks.model.catalogue import Column, Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.plan import Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import LockMode, Phase, ShortTransaction, Step
from tasks.model.transfer import TransferSpec
from tasks.model.transfer_columns import ColumnRule
from tasks.model.transfer_steps import Relation, RowTransfer, TransferColumn


def plan_rows(conn: Connection, spec: MigrationSpec, search_path: str) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Raises SpecError and PreflightError with the place in the spec. Locks: ACCESS SHARE on the table.
    """
    wanted = spec.transfer
    assert wanted is not None
    catalogue = inspect(conn, (wanted.rows_of,), search_path)
    table = catalogue.tables[0]
    _refuse(conn, table, spec)
    given = spec.backfill.key.get(table.full_name) or spec.backfill.key.get(table.name)
    key = choose_key(table, table, given).columns
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        evaluated = Evaluated(conn, table, key)
        evaluated.require_condition(wanted.condition)
        columns = tuple(_columns(evaluated, wanted, key))
        if wanted.capture != "none":
            refuse_uncapturable(conn, table, wanted, key, [one.expression for one in columns])
    named = named_key(key, columns, table, quote)
    require_names(columns, wanted.to.table or "")
    require_key(columns, named)
    require_width(columns)
    into = _relation(conn, spec, wanted, table, columns, named)
    types = {column.name: column.type for column in table.columns}
    noting = wanted.capture != "none"
    capture = capture_of(table, key, base_types(conn, table, key), into.helpers) if noting else None
    action = RowTransfer(
        table=f"{quote(table.schema_name)}.{quote(table.name)}",
        key=key,
        key_types=tuple(types[name] for name in key),
        alias=table.name,
        where=wanted.condition or "",
        columns=columns,
        target_key=named,
        into=into,
        rejected=into.rejected,
        account=into.account,
        notes=capture.notes if capture else "",
    )
    sizes = estimates(conn, catalogue.tables)
    listed = tuple(_steps(table, action, capture))
    findings = tuple(_findings(table, action))
    level, reasons = risk(spec, listed, sizes, findings)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=search_path,
        steps=listed,
        requirements=tuple(capture.requirements()) if capture else (),
        estimates=sizes,
        risk=level,
        risk_reasons=reasons,
        findings=findings,
    )


def _refuse(conn: Connection, table: Table, spec: MigrationSpec) -> None:
    if table.kind not in ("table", "partitioned table"):
        raise PreflightError(
            f"{table.full_name} is a {table.kind}", where="transfer.table", hint="Name a table with a key."
        )
    unfinished(conn, table, spec.migration)


def _columns(evaluated: Evaluated, wanted: TransferSpec, key: tuple[str, ...]) -> Iterator[TransferColumn]:
    """Yield the columns of the new table."""
    for number, (name, rule, found) in enumerate(chosen(evaluated.table, wanted)):
        at = f"transfer.columns.{name}"
        expression = quote(found.name) if found is not None else str(rule.up)
        base, enum = evaluated.of(expression, at)
        # Of a domain what is beneath it is known, but not its length.
        known = found.type if found is not None and _bare(found.type) == base else base
        in_key = found is not None and found.name in key
        yield _column(name, rule, expression, found, (known, enum, in_key), value_name(number), at)


def _bare(kind: str) -> str:
    before, bracket, rest = kind.partition("(")
    return before + rest.partition(")")[2] if bracket else kind


def _column(
    name: str,
    rule: ColumnRule,
    expression: str,
    found: Column | None,
    source: tuple[str, bool, bool],
    value: str,
    at: str,
) -> TransferColumn:
    known, enum, in_key = source
    made = sent_to_mariadb(known, value, rule.type, enum=enum, key=in_key)
    if made is None:
        what = f"{rule.type} does not hold" if rule.type else "MariaDB has no type that holds"
        raise SpecError(
            f"{what} every value of a {known} of PostgreSQL as it is",
            where=at,
            hint="Give another `type` (`longtext` has PostgreSQL's text), or an expression `up`: to_jsonb makes JSON of"
            " arrays; or leave the column out with `omit`.",
        )
    return TransferColumn(
        name=name,
        type=made.type,
        # What an expression gives need not be what it gave for no row.
        nullable=found is None or found.nullable or rule.unfit == "null",
        expression=expression,
        source_type=known,
        text=made.text,
        form=made.form,
        misfits=made.misfits,
        unfit=rule.unfit,
    )


def _relation(
    conn: Connection,
    spec: MigrationSpec,
    wanted: TransferSpec,
    table: Table,
    columns: tuple[TransferColumn, ...],
    key: tuple[str, ...],
) -> Relation:
    numbered, next_number = "", ""
    first = next(one for one in columns if one.name == key[0])
    if first.type in ("smallint", "int", "bigint"):
        # Its table in the form that regclass reads, its column bare.
        named = literal(f"{quote(table.schema_name)}.{quote(table.name)}")
        bare = next(c.name for c in table.columns if quote(c.name) == first.expression)
        row = conn.execute(
            f"select pg_catalog.pg_get_serial_sequence({named}, %s), quote_literal(pg_catalog.pg_get_serial_sequence("
            f"{named}, %s))",
            (bare, bare),
        ).fetchone()
        if row is not None and row[0]:
            numbered, (sequence, quoted) = first.name, row
            _require_readable(conn, sequence)
            step = f"(select seqincrement from pg_catalog.pg_sequence where seqrelid = {quoted}::pg_catalog.regclass)"
            next_number = f"select last_value + case when is_called then {step} else 0 end from {sequence}"
    lines = {one.name: _default(table, one) for one in columns}
    return relation(spec, wanted.to, table.full_name, columns, key, lines, numbered=numbered, next_number=next_number)


def _require_readable(conn: Connection, sequence: str) -> None:
    row = conn.execute("select pg_catalog.has_sequence_privilege(%s, 'select')", (sequence,)).fetchone()
    if row is None or not row[0]:
        raise PreflightError(
            f"the role may not read the sequence {sequence}, with which the new table goes on",
            where="transfer.table",
            hint="Grant it SELECT on the sequence.",
        )


def _default(table: Table, one: TransferColumn) -> str:
    """Return a default that means the same in MariaDB; empty where there is none, or nobody can tell."""
    source = next((c for c in table.columns if quote(c.name) == one.expression), None)
    text = (source.default or "") if source is not None and not source.generated else ""
    if one.type == "tinyint(1)" and text in ("true", "false"):
        return str(int(text == "true"))
    if text.isdecimal() and len(text) < 5 and int(text) <= _greatest(one.type):
        return text
    if text.lower() in ("now()", "current_timestamp") and one.source_type.endswith("with time zone"):
        return f"utc_timestamp{one.type.removeprefix('datetime')}" if one.type.startswith("datetime") else ""
    plain = re.fullmatch(r"('[^'\\]*')::(?:character varying|text)", text)
    if plain is None or not one.type.startswith(("varchar", "longtext")):
        return ""
    most = re.fullmatch(r"varchar\(([0-9]+)\)", one.type)
    return plain[1] if most is None or len(plain[1]) - 2 <= int(most[1]) else ""


def _greatest(kind: str) -> int:
    """Return a number that a type of whole numbers, or of digits, holds with all below it; -1 for others."""
    digits = re.fullmatch(r"decimal\(([0-9]+),([0-9]+)\)", kind)
    if digits is not None:
        return int(10 ** (int(digits[1]) - int(digits[2]))) - 1
    return {"tinyint": 127, "smallint": 9999, "int": 9999, "bigint": 9999}.get(re.split(r"[( ]", kind)[0], -1)


def _steps(table: Table, action: RowTransfer, capture: Capture | None) -> Iterator[Step]:
    full = table.full_name
    if capture is None:
        return steps(full, action, "rows")
    schema = quote(action.into.helpers)
    gone = (*capture.drop_notes(), f"drop schema if exists {schema}")
    made = Step(
        key=f"expand/{full}/notes",
        phase=Phase.EXPAND,
        title=f"make the table of notes: {capture.notes}",
        undo="drop it",
        action=ShortTransaction(forward=(f"create schema {schema}", *capture.create_notes()), inverse=gone),
    )
    released = Step(
        key=f"contract/{full}/notes",
        phase=Phase.CONTRACT,
        title=f"drop the triggers on {full}, and the notes",
        action=ShortTransaction(
            locks=capture.lock(LockMode.ACCESS_EXCLUSIVE), guard=True, forward=(*capture.drop_triggers(), *gone)
        ),
    )
    return steps(full, action, "rows", made=[made], captured=[capture.step()], released=[released])


def _findings(table: Table, action: RowTransfer) -> Iterator[Finding]:
    full = table.full_name
    if action.notes:
        yield noted(full, action.notes)
        yield from published(table, action.notes)
    else:
        yield not_captured(full, "rows", instead=", or give `capture: triggers`")
    yield from policies(full, action)
    nor = "privileges, nor the collations of PostgreSQL: texts are compared by their bytes"
    yield left_behind(table, action, _without_default(table, action), nor)


def _without_default(table: Table, action: RowTransfer) -> Iterator[str]:
    for one in action.columns:
        source = next((c for c in table.columns if quote(c.name) == one.expression), None)
        if source is None or one.name == action.into.numbered:
            continue
        if source.identity or source.generated or (source.default is not None and not _default(table, one)):
            yield one.name
