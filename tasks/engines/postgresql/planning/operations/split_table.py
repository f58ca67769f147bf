"""split_table: the columns stand in both tables, in step, until `contract` drops those of the first.

What keeps them in step is in `planning.linked.halves`.
"""

from tasks.engines.postgresql.planning.attached.belongings import grants_of
from tasks.engines.postgresql.planning.checks.domains import domain_default
from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked import halves_gates, preconditions
from tasks.engines.postgresql.planning.linked.announced import in_step, lost_indexes, unpublished
from tasks.engines.postgresql.planning.linked.halves import Halves
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side
from tasks.engines.postgresql.planning.linked.steps import begin, end, swap
from tasks.engines.postgresql.planning.shadow.build import draws, grants
from tasks.model.catalogue import Column
from tasks.model.errors import SpecError
from tasks.model.names import quote
from tasks.model.operations import SplitTable
from tasks.model.plan import Finding
from tasks.model.spec import BackfillOptions
from tasks.model.steps import Assignment, Copy, Lock, LockMode, Phase, ShortTransaction, Step, Validation


def draft_split_table(op: SplitTable, draft: TableDraft, backfill: BackfillOptions, where: str) -> None:
    """Make the table, keep both in step, and retire the columns of the first."""
    columns = [existing_column(draft, name, f"{where}.columns") for name in op.columns]
    preconditions.check(draft, backfill.user_triggers, where)
    preconditions.no_policies(
        draft, where, "Move single columns into a table with policies of its own instead: move_column."
    )
    key = preconditions.primary_key(draft, op.key, op.columns, where)
    for column in columns:
        preconditions.movable(draft, column, where)
        _fits(op, draft, column, where)
    schema, name = draft.spec.split_name(op.to)
    if draft.spec.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=f"{where}.to", hint="Choose another name.")
    dropped = ", ".join(f"drop column {quote(column)}" for column in op.columns)
    draft.rehearsal.try_on_new(f"alter table {{table}} {dropped}", where)
    draft.key = tuple(column.name for column in key)
    new_key = tuple(op.key.get(column.name, column.name) for column in key)
    halves = Halves(
        outbox=Outbox(
            migration=draft.migration,
            about=f"{draft.full_name}\0{schema}.{name}\0halves",
            types=tuple(column.type for column in key),
            search_path=draft.search_path,
        ),
        whole=Side(
            real=draft.real, full_name=draft.full_name, columns=op.columns, link=draft.key, key=draft.key, alone=True
        ),
        part=Side(
            real=f"{quote(schema)}.{quote(name)}",
            full_name=f"{schema}.{name}",
            columns=op.columns,
            link=new_key,
            key=new_key,
            alone=True,
        ),
        types=tuple(column.type for column in columns),
        needed=tuple(column.name for column in columns if not column.nullable),
        when_null=op.when_null,
    )
    draft.spec.created[op.to] = draft.spec.created[f"{schema}.{name}"] = halves.part.real
    draft.touched |= {*op.columns}
    draft.shape.dropped |= {*op.columns}
    for column in columns:
        draft.contract.append(f"drop column if exists {quote(column.name)}")
        draft.restore_not_null(column)
        if not column.nullable:
            draft.swap(forward=[draft.alter(f"alter column {quote(column.name)} drop not null")])
    swap(halves, draft, (draft.real, halves.part.real))
    draft.comparisons += halves_gates.comparisons(halves)
    draft.requirements += halves_gates.requirements(halves)
    draft.findings += _findings(op, halves, draft, where)
    draft.spec.steps += _steps(op, halves, draft, [*zip(key, new_key, strict=True)], columns)


def _fits(op: SplitTable, draft: TableDraft, column: Column, where: str) -> None:
    """A column that draws from a sequence is never the same twice; what cannot be NULL cannot have no row."""
    if draws(draft.table, column.name):
        raise SpecError(
            f"{column.name} draws from a sequence of its own",
            where=f"{where}.columns",
            hint="Drop its default in a migration of its own first.",
        )
    default = column.default if column.default is not None else domain_default(draft, column.name)
    if op.when_null == "no_row" and (not column.nullable or default is not None):
        what = "has a default" if column.nullable else "is NOT NULL"
        raise SpecError(
            f"{column.name} {what}: without a row in the new table it could not be NULL",
            where=f"{where}.when_null",
            hint="Write `when_null: row`.",
        )


def _create(
    halves: Halves, op: SplitTable, draft: TableDraft, key: list[tuple[Column, str]], columns: list[Column]
) -> list[str]:
    part = halves.part
    of_key = [f"{quote(new)} {column.type}{preconditions.collation(column)} not null" for column, new in key]
    of_columns = [
        f"{quote(column.name)} {column.type}{preconditions.collation(column)}"
        + (f" default {column.default}" if column.default is not None else "")
        + ("" if column.nullable else " not null")
        for column in columns
    ]
    listed = ", ".join(quote(new) for _, new in key)
    found = [
        f"create table {part.real} ({', '.join([*of_key, *of_columns])}, primary key ({listed}),"
        f" constraint {quote(op.foreign_key)} foreign key ({listed}) references {draft.real}"
        f" ({', '.join(quote(column.name) for column, _ in key)}) on delete cascade on update cascade)",
        f"alter table {part.real} owner to {quote(draft.table.owner)}",
        *grants(draft.table, part.real),
    ]
    for column, name in [*key, *((column, column.name) for column in columns)]:
        found += grants_of(part.real, name, column.grants)
        if column.storage:
            found.append(f"alter table {part.real} alter column {quote(name)} set storage {column.storage}")
        if column.compression:
            found.append(f"alter table {part.real} alter column {quote(name)} set compression {column.compression}")
        if column.comment is not None:
            found.append(f"comment on column {part.real}.{quote(name)} is {literal(column.comment)}")
    return found


def _steps(
    op: SplitTable, halves: Halves, draft: TableDraft, key: list[tuple[Column, str]], columns: list[Column]
) -> list[Step]:
    whole, part = halves.whole, halves.part
    both = (whole.real, part.real)
    what = f"{whole.full_name} and {part.full_name}"
    at = f"{whole.full_name}/{part.full_name}"
    named = [(column, column.name) for column in columns]
    return [
        Step(
            key=f"expand/{part.full_name}/create",
            phase=Phase.EXPAND,
            title=f"create table {part.full_name} for {', '.join(op.columns)} of {whole.full_name}",
            undo="drop it; what it says is in the first table, too",
            action=ShortTransaction(
                locks=(Lock(table=whole.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),),
                forward=tuple(_create(halves, op, draft, key, columns)),
                inverse=(f"drop table if exists {part.real}",),
                inverse_locks=(draft.exclusive, Lock(table=part.real, mode=LockMode.ACCESS_EXCLUSIVE)),
            ),
        ),
        begin(halves, both, at, what),
        Step(
            key=f"backfill/{whole.full_name}/{part.full_name} rows",
            phase=Phase.BACKFILL,
            title=f"copy {', '.join(op.columns)} of {whole.full_name} into {part.full_name} for rows that exist",
            action=Copy(
                table=whole.real,
                key=whole.key,
                key_types=tuple(column.type for column, _ in key),
                alias=draft.table.name,
                target=part.real,
                target_key=part.key,
                assignments=tuple(
                    Assignment(
                        column=new, type=column.type, expression=f"{quote(draft.table.name)}.{quote(column.name)}"
                    )
                    for column, new in [*key, *named]
                ),
                where=halves.says(quote(draft.table.name)) if op.when_null == "no_row" else "",
            ),
        ),
        Step(
            key=f"index/{part.full_name}/statistics",
            phase=Phase.INDEX,
            title=f"tell the planner what {part.full_name} holds",
            action=Validation(table=part.real, forward=(f"analyze {part.real}",)),
        ),
        end(halves, both, at, what),
    ]


def _findings(op: SplitTable, halves: Halves, draft: TableDraft, where: str) -> list[Finding]:
    found = [
        in_step(f"{halves.whole.full_name} and {halves.part.full_name}", where),
        Finding(
            rule="LNK-05",
            severity="warning",
            message=f"from the beginning of the run {halves.part.full_name} refers to {halves.whole.full_name}:"
            f" TRUNCATE of {halves.whole.full_name} needs CASCADE",
            where=where,
        ),
    ]
    remedy = f"Build one on {halves.part.full_name} in a migration of its own."
    found += lost_indexes(draft.table, op.columns, where, remedy)
    found += unpublished(draft.table, halves.part.full_name, where)
    return found
