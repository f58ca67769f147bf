"""Draw up the plan of a copy into a collection of MongoDB. Nothing is changed, and MongoDB is not asked."""

from collections.abc import Iterator

from tasks.engines.mysql.inspect import estimate, inspect
from tasks.engines.mysql.names import own, quote
from tasks.engines.mysql.planning.capture import Capture, refuse_uncapturable
from tasks.engines.mysql.planning.catalogue import has_table
from tasks.engines.mysql.planning.document_types import held, tells_apart
from tasks.engines.mysql.planning.refuse import refuse_kind
from tasks.engines.mysql.planning.transfer import key_of, kind_of_key, made_by, refuse_key, truncated, try_condition
from tasks.engines.mysql.receiving.place import create_rejected
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import tag
from tasks.engines.receiving.plan import helpers_of
from tasks.engines.transfer_findings import not_captured, noted
from tasks.engines.transfer_plan import accounted, into_collection, misfits
from tasks.model.catalogue import Column, Table
from tasks.model.errors import SpecError
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, Risk, SelfCommitting, Step
from tasks.model.transfer import ID, TransferSpec
from tasks.model.transfer_fields import FieldRule
from tasks.model.transfer_steps import Collection, DocumentTransfer, TransferField

_LONGEST = 600
"""Characters of the path of a field: by it rejections are noted."""
_ASKED = "date, string, boolean, decimal, json, objectId or extended_json"


def plan_documents(conn: MariaSession, spec: MigrationSpec) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Expressions are tried on an empty table of ours, which is dropped again. Raises SpecError with the place.
    """
    wanted = spec.transfer
    assert wanted is not None
    assert wanted.to.collection is not None
    _refuse_others(conn, spec)
    refuse_key(spec)
    _refuse_other_tables(wanted)
    catalogue = inspect(conn, (wanted.rows_of,))
    table = catalogue.tables[0]
    refuse_kind(table)
    key = key_of(table)
    kinds = tuple(kind_of_key(table, name) for name in key)
    if wanted.condition is not None:
        try_condition(conn, table, wanted.condition)
    fields = tuple(_fields(conn, table, key, wanted, own(tag(spec.migration), 0, "probe")))
    capture = _capture(conn, table, key, wanted, fields, spec.migration) if wanted.capture != "none" else None
    helpers = helpers_of(spec, table.full_name)
    place, rejected, account = (quote(f"{helpers}_{name}") for name in ("place", "rejected", "account"))
    action = DocumentTransfer(
        engine="mariadb",
        table=quote(table.name),
        key=key,
        key_types=kinds,
        alias=table.name,
        where=wanted.condition or "",
        fields=fields,
        given_id=ID in wanted.fields and wanted.fields[ID].column not in _unique(table),
        into=Collection(database=wanted.to.database, name=wanted.to.collection, place=place, does="make"),
        rejected=rejected,
        account=account,
        notes=capture.notes if capture else "",
    )
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path="",
        steps=tuple(_steps(table, action, helpers, capture)),
        requirements=tuple(_requirements(table, action, capture)),
        estimates=(estimate(conn, table),),
        risk=Risk.MEDIUM,
        risk_reasons=(f"the rows of {table.full_name} are copied into another database",),
        findings=tuple(_findings(table, action)),
    )


def _refuse_others(conn: MariaSession, spec: MigrationSpec) -> None:
    if not conn.dialect.maria:
        raise SpecError(
            f"documents are made of rows of MariaDB, and this is {conn.dialect.name}",
            where=f"database {spec.database}",
            hint="Copy them from a server of MariaDB, or of PostgreSQL.",
        )


def _refuse_other_tables(wanted: TransferSpec) -> None:
    for path, rule in wanted.fields.items():
        at = f"transfer.fields.{path}"
        if rule.embed is not None:
            raise SpecError(
                "rows of another table are embedded from PostgreSQL only: MariaDB makes one value of them by"
                " aggregates that cut off at group_concat_max_len or max_allowed_packet",
                where=at,
                hint="Copy the other table into a collection of its own, and join them there with $lookup.",
            )
        if rule.lookup is not None:
            raise SpecError(
                "a value is looked up from PostgreSQL only: on MariaDB nobody notes in whose documents it is",
                where=at,
                hint="Give a subquery as `up`, and copy without capture, while nobody writes.",
            )


def _capture(
    conn: MariaSession,
    table: Table,
    key: tuple[str, ...],
    wanted: TransferSpec,
    fields: tuple[TransferField, ...],
    migration: str,
) -> Capture:
    if ID in wanted.fields and (wanted.fields[ID].column,) != key:
        raise SpecError(
            "writes are noted by their key: a document could not be found by an _id of something else",
            where=f"transfer.fields.{ID}",
            hint=f"Leave _id out, which is then made of {', '.join(key)}.",
        )
    reading = [(f"transfer.fields.{'.'.join(one.path)}", one.expression) for one in fields if one.expression]
    refuse_uncapturable(conn, table, wanted.condition, reading)
    types = tuple(column.type for name in key if (column := table.column(name)) is not None)
    return Capture(table=table, key=key, key_types=types, tag=tag(migration), maria=conn.dialect.maria, looked_up=True)


def _unique(table: Table) -> set[str]:
    """Columns that tell rows apart by themselves."""
    found = {index.columns[0] for index in table.indexes if index.unique and len(index.columns) == 1}
    return {column.name for column in table.columns if column.name in found and not column.nullable}


def _fields(
    conn: MariaSession, table: Table, key: tuple[str, ...], wanted: TransferSpec, probe: str
) -> Iterator[TransferField]:
    """Yield the fields of a document, `_id` first."""
    if ID in wanted.fields:
        yield _field(conn, table, (ID,), wanted.fields[ID], f"transfer.fields.{ID}", probe)
    else:
        for column in key:
            where = (ID,) if len(key) == 1 else (ID, column)
            if "." in column or column.startswith("$"):
                raise SpecError(f"{column!r} is no name of a field", where="transfer.fields", hint="Give _id.")
            at = "transfer.fields (_id, from the key)"
            yield _field(conn, table, where, FieldRule(column=column), at, probe)
    for path, rule in wanted.fields.items():
        if path != ID:
            yield _field(conn, table, tuple(path.split(".")), rule, f"transfer.fields.{path}", probe)


def _field(
    conn: MariaSession, table: Table, path: tuple[str, ...], rule: FieldRule, at: str, probe: str
) -> TransferField:
    if len(".".join(path)) > _LONGEST:
        raise SpecError(f"the path has more than {_LONGEST} characters", where=at, hint="Write shorter names.")
    if rule.constant is not None:
        return TransferField(path=path, holds="constant", constant=rule.constant)
    expression, source = _source(conn, table, rule, at, probe)
    found = held(source.type, rule.type)
    if found is None:
        raise SpecError(
            f"a {source.type} is no {rule.type}" if rule.type else f"MongoDB has no counterpart of {source.type}",
            where=at,
            hint=f"Write a `type` that takes it: {_ASKED}; or give an expression `up`, hex(column) for bytes.",
        )
    if path[0] == ID and not tells_apart(source.type, found.holds):
        raise SpecError(
            f"a {source.type} does not tell documents apart: it may be unfit, or equal where MariaDB says it is not",
            where=at,
            hint="Give an _id of integers, a text, a uuid or bytes; `type: string` makes a text.",
        )
    return TransferField.model_validate(
        {
            "path": path,
            "holds": found.holds,
            "doubtful": found.doubtful,
            "expression": expression,
            "source_type": source.type,
            "unfit": rule.unfit,
            "nulls": rule.nulls,
        }
    )


def _source(conn: MariaSession, table: Table, rule: FieldRule, at: str, probe: str) -> tuple[str, Column]:
    if rule.up is not None:
        return rule.up, made_by(conn, table, rule.up, probe, at)
    assert rule.column is not None
    column = table.column(rule.column)
    if column is None:
        raise SpecError(
            f"{table.full_name} has no column {rule.column!r}", where=at, hint="Correct the name of the column."
        )
    return quote(column.name), column


def _steps(table: Table, action: DocumentTransfer, helpers: str, capture: Capture | None) -> Iterator[Step]:
    full, into = table.full_name, action.into
    gone = tuple(f"drop table if exists {one}" for one in (action.account, action.rejected, into.place))
    yield Step(
        key=f"expand/{full}/tables",
        phase=Phase.EXPAND,
        title=f"make the tables of the copy: {helpers}_place and its like",
        undo="drop them",
        action=SelfCommitting(
            table=full,
            # Each may be done again. What says which collection is ours is there before anything has its name.
            forward=(
                create_rejected(action.rejected, _LONGEST),
                f"create table if not exists {action.account} (shard int primary key, `read` bigint not null,"
                " written bigint not null, rejected bigint not null) engine=InnoDB",
                f"create table if not exists {into.place} (one tinyint primary key, token char(36) not null,"
                " collection char(36)) engine=InnoDB",
                f"insert into {into.place} (one, token) select 1, uuid() from (select 1) as made"
                f" where not exists (select 1 from {into.place})",
            ),
            inverse=gone,
        ),
    )
    if capture is not None:
        yield capture.make()
    if capture is None:
        yield from into_collection(full, action)
    else:
        yield from into_collection(full, action, captured=capture.begin(), released=capture.end())
    yield Step(
        key=f"contract/{full}/tables",
        phase=Phase.CONTRACT,
        title="drop the tables of the copy, with the notes of rejected rows",
        action=SelfCommitting(
            table=full,
            forward=gone,
            done=f"select 1 from dual where not exists ({has_table(f'{helpers}_place')})",
        ),
    )


def _requirements(table: Table, action: DocumentTransfer, capture: Capture | None) -> Iterator[Requirement]:
    if capture is not None:
        yield from capture.requirements()
    yield from accounted(table.full_name, f"select shard from {action.account} where `read` <> written + rejected")


def _findings(table: Table, action: DocumentTransfer) -> Iterator[Finding]:
    full = table.full_name
    if action.notes:
        yield noted(full, action.notes)
        yield truncated(full)
    else:
        yield not_captured(full, "rows", instead=", or give `capture: triggers`")
    yield from misfits(full, ((".".join(field.path), field) for field in action.fields))
