"""Draw up the plan of a copy of documents into a table of another database. Nothing is changed there, nor asked."""

from collections.abc import Iterator

from tasks.engines.mongodb.connect import Documents
from tasks.engines.mongodb.documents.expressions import from_text, to_text
from tasks.engines.mongodb.documents.inspect import estimate, inspect
from tasks.engines.mongodb.place import uuid_of
from tasks.engines.mongodb.rows.asked import asked_for, try_out
from tasks.engines.mongodb.rows.columns import Taker
from tasks.engines.mongodb.rows.elements import usual
from tasks.engines.mongodb.rows.mapping import columns_of, key_of_table
from tasks.engines.mongodb.rows.sample import Seen, look
from tasks.engines.mongodb.rows.shape import REST
from tasks.engines.mysql.receiving import plan as in_mariadb
from tasks.engines.postgresql.receiving import plan as in_postgresql
from tasks.engines.receiving.plan import steps
from tasks.engines.transfer_findings import not_captured, streamed
from tasks.model.catalogue import Index, Table
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.plan import Finding, Plan, Requirement, TableEstimate
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase, Risk, Step
from tasks.model.transfer import ID, TransferSpec
from tasks.model.transfer_steps import Relation, RowTransfer, TransferColumn


def plan_rows(database: Documents, spec: MigrationSpec, taker: Taker) -> Plan:
    """Return the complete plan of a spec on the documents as they are now.

    Types that the spec does not give are chosen by what the first and the last documents hold: types of `taker`.
    Raises SpecError with the place.
    """
    wanted = spec.transfer
    assert wanted is not None
    _refuse(spec, wanted)
    assert wanted.collection is not None
    catalogue = inspect(database, [wanted.collection], "transfer.collection")
    table = catalogue.tables[0]
    asked = asked_for(wanted)
    try_out(database, asked, wanted)
    seen = look(database, asked)
    columns = tuple(columns_of(wanted, asked, seen, taker))
    _refuse_twice(columns)
    key = key_of_table(columns)
    into = (_in_mariadb if taker == "mariadb" else _in_postgresql)(spec, wanted, table.full_name, columns, key)
    action = RowTransfer(
        table=table.full_name,
        key=(ID,),
        key_types=("bson",),
        alias=table.name,
        where=to_text(asked.where) if asked.where else "",
        columns=columns,
        target_key=key,
        of="collection",
        uuid=str(uuid_of(database, table.name)),
        unnest=wanted.array,
        omit=tuple(tuple(path.split(".")) for path in wanted.omit),
        into=into,
        rejected=into.rejected,
        account=into.account,
        notes=into.notes if wanted.capture != "none" else "",
    )
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="cross_database",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path="",
        steps=tuple(steps(table.full_name, action, _what(action), captured=_captured(table.full_name, action))),
        requirements=tuple(_requirements(table.full_name, action)),
        estimates=(_estimate(database, action),),
        risk=Risk.MEDIUM,
        risk_reasons=(f"the {_what(action)} of {table.full_name} are copied into another database",),
        findings=tuple(_findings(table, action, seen)),
    )


def _in_postgresql(
    spec: MigrationSpec, wanted: TransferSpec, full: str, columns: tuple[TransferColumn, ...], key: tuple[str, ...]
) -> Relation:
    lines = [f"{quote(one.name)} {one.type}{'' if one.nullable else ' not null'}" for one in columns]
    return in_postgresql.relation(spec, wanted.to, full, lines, key)


def _in_mariadb(
    spec: MigrationSpec, wanted: TransferSpec, full: str, columns: tuple[TransferColumn, ...], key: tuple[str, ...]
) -> Relation:
    in_mariadb.require_names(columns, wanted.to.table or "")
    in_mariadb.require_key(columns, key)
    in_mariadb.require_width(columns)
    return in_mariadb.relation(spec, wanted.to, full, columns, key, {})


def _refuse(spec: MigrationSpec, wanted: TransferSpec) -> None:
    if wanted.collection is None:
        raise SpecError(
            "documents of a collection are copied, and the spec names a table",
            where="transfer.table",
            hint="Write `collection`; or name a database of PostgreSQL or MariaDB as `database`.",
        )
    if spec.backfill.key:
        raise SpecError("documents are walked along _id", where="backfill.key", hint="Leave it out.")


def _what(action: RowTransfer) -> str:
    return f"elements of {'.'.join(action.unnest)}" if action.unnest else "documents"


def _estimate(database: Documents, action: RowTransfer) -> TableEstimate:
    found = estimate(database, action.alias)
    if not action.unnest:
        return found
    return found.model_copy(update={"rows": int(found.rows * usual(database[action.alias], action.unnest))})


def _captured(full: str, action: RowTransfer) -> Iterator[Step]:
    if action.notes:
        yield Step(
            key=f"dual_write/{full}/stream",
            phase=Phase.DUAL_WRITE,
            title=f"remember where the change stream of {full} is: what is written from here on is carried",
            undo="nothing: it goes with the table",
            action=action.into.model_copy(update={"does": "watch"}),
        )


def _requirements(full: str, action: RowTransfer) -> Iterator[Requirement]:
    if action.notes:
        key = "`key`" if action.into.engine == "mariadb" else "key"
        yield Requirement(
            name=f"nothing was written to {full} since the swap",
            table=full,
            kind="parity",
            gate="before_contract",
            violations=f"select distinct {key} from {action.notes}",
        )


def _refuse_twice(columns: tuple[TransferColumn, ...]) -> None:
    names = [one.name for one in columns]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SpecError(
            f"two fields would have the column {twice!r}",
            where="transfer.columns",
            hint="Name one of them in `columns`, under another name, or in `omit`; or give `rest`.",
        )


_DONE = {
    "reject": "its {row} is left out, and noted with the reason",
    "null": "becomes NULL",
    "string": "becomes its text",
    "tag": "becomes extended JSON",
}


_NEVER = 2**31 - 1
"""The longest time that an index can give documents, in seconds."""


def _expires(index: Index) -> bool:
    after = from_text(index.definition).get("expireAfterSeconds")
    # What is not a number is none that is large enough.
    return isinstance(after, int | float) and not after >= _NEVER


def _findings(table: Table, action: RowTransfer, seen: Seen) -> Iterator[Finding]:
    full = table.full_name
    if action.notes:
        yield streamed(full)
    else:
        yield not_captured(full, "documents", instead=", or give `capture: change_stream`")
    for name in (index.name for index in table.indexes if _expires(index) and not action.notes):
        yield Finding(
            rule="XDB-11",
            severity="warning",
            message=f"the index {name} lets MongoDB itself delete documents, whoever else is kept away: the gate before"
            " the swap refuses what it finds gone, and rows stay of what goes after that",
            where=full,
            hint=f"Before the copy give it expireAfterSeconds: {_NEVER} by collMod, then plan again; or set the"
            " parameter ttlMonitorEnabled of the server to false until the swap.",
        )
    for one in action.columns:
        if one.unfit != "fail":
            done = _DONE[one.unfit].format(row="element" if action.unnest else "document")
            yield Finding(
                rule="XDB-02",
                severity="note",
                message=f"{one.name}: a value that does not fit: {done}",
                where=full,
            )
    if action.unnest:
        path = ".".join(action.unnest)
        yield Finding(
            rule="XDB-15",
            severity="note",
            message=f"a document whose {path} is empty, null or missing has no row: which of these it is stands in no"
            " table, unless another copy has the field",
            where=full,
        )
    left = [f"the index {index.name}" for index in table.indexes if not index.primary]
    told = f" does not get {', '.join(left)}; nor" if left else " does not get"
    yield Finding(
        rule="XDB-05",
        severity="warning" if left else "note",
        message=f"{action.into.full_name}{told} privileges: those of {full}"
        + (", and default privileges of its new schema" if action.into.engine == "postgresql" else ""),
        where=full,
        hint="Make and grant on the new table, after the swap, what the application needs there.",
    )
    if not seen.whole:
        yield Finding(
            rule="XDB-09",
            severity="note",
            message=f"types were chosen by {seen.documents:,} {_what(action)}, the first and the last ones; every one"
            " is looked at before the run",
            where=full,
            hint="Give `type` where you know better.",
        )
    ordered = [one.name for one in action.columns if one.type == "jsonb" and one.source_type != REST]
    if ordered:
        yield Finding(
            rule="XDB-10",
            severity="note",
            message=f"jsonb keeps no order of the fields of a document: {', '.join(ordered)}",
            where=full,
            hint="Write `type: json` where the order matters.",
        )
