"""move_column and denormalize: the column stands in both tables, each following the other, until `contract`.

Of a column that moves the contract drops the first; of a copy both stay, and nothing ties them any more. What keeps
them in step is in `planning.linked`.
"""

from tasks.engines.postgresql.planning.attached.belongings import grants_of
from tasks.engines.postgresql.planning.checks.domains import beneath, silent
from tasks.engines.postgresql.planning.checks.require import existing_column, free_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.keys import choose_key, key_columns
from tasks.engines.postgresql.planning.linked import gates, preconditions
from tasks.engines.postgresql.planning.linked.announced import in_step, lost_indexes
from tasks.engines.postgresql.planning.linked.moved import Moved
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side
from tasks.engines.postgresql.planning.linked.steps import begin, end, swap
from tasks.engines.postgresql.planning.move import Move
from tasks.model.catalogue import Column, Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import Denormalize, MoveColumn
from tasks.model.plan import Finding
from tasks.model.spec import BackfillOptions
from tasks.model.steps import Assignment, Backfill, Phase, Step


def draft_move_column(
    op: MoveColumn | Denormalize, source: TableDraft, target: TableDraft, backfill: BackfillOptions, where: str
) -> None:
    """Add the column to the target, and keep both in step; unless it is a copy, retire the one of the source."""
    column = existing_column(source, op.column, where)
    free_column(target, op.new_name, where)
    types, triggers = _types(op, source, target, where), backfill.user_triggers
    # Of a copy nothing is ever carried back.
    preconditions.check(source, triggers if isinstance(op, MoveColumn) else "fire", where)
    preconditions.check(target, triggers, where)
    if isinstance(op, MoveColumn):
        preconditions.movable(source, column, where)
    source.key, target.key = choose_key(source, backfill.key), choose_key(target, backfill.key)
    moves = isinstance(op, MoveColumn)
    moved = Moved(
        outbox=Outbox(
            migration=source.migration,
            about=f"{source.full_name}\0{op.column}\0{target.full_name}",
            types=types,
            search_path=source.search_path,
        ),
        source=_side(source, op.column, tuple(op.on), where),
        target=_side(target, op.new_name, tuple(op.on.values()), where),
        type=column.type,
        when_differ=op.when_differ if isinstance(op, MoveColumn) else "refuse",
        lossy=isinstance(op, MoveColumn) and op.lossy,
        copies=not moves,
    )
    _refuse_many_to_many(moved, op, where)
    _try(moved, source, target, where)
    silence = silent(beneath(target, op.new_name, where), where)
    target.add_column(op.new_name, column.type, like=column, default=silence)
    target.expand.append(Move(forward=grants_of(target.real, op.new_name, column.grants)))
    target.shape.plain_new[op.new_name] = column.type
    if column.comment is not None:
        target.comment(op.new_name, column.comment)
    if moves:
        _retire(source, column)
    swap(moved, source, (source.real, target.real))
    source.requirements += gates.before_run(moved)
    source.requirements += gates.before_swap(moved)
    source.requirements += gates.after_swap(moved)
    source.comparisons += gates.comparisons(moved)
    source.findings += _findings(moved, source, where)
    source.spec.steps += _steps(moved, source, target)


def _retire(source: TableDraft, column: Column) -> None:
    source.shape.dropped.add(column.name)
    source.touched.add(column.name)
    source.contract.append(f"drop column if exists {quote(column.name)}")
    source.restore_not_null(column)
    source.relax(column, after=column.name)


def _types(op: MoveColumn | Denormalize, source: TableDraft, target: TableDraft, where: str) -> tuple[str, ...]:
    types = []
    for own, other in op.on.items():
        mine, theirs = existing_column(source, own, f"{where}.on"), existing_column(target, other, f"{where}.on")
        if mine.type != theirs.type:
            raise SpecError(
                f"{source.full_name}.{own} is of type {mine.type}, {target.full_name}.{other} of type {theirs.type}",
                where=f"{where}.on",
                hint="Give both the same type in a migration of its own first: alter_column.",
            )
        source.rehearsal.try_on_new(
            f"select pg_catalog.hash_record(row({quote(own)})) from {{table}}",
            f"{where}.on",
            "Tie them by another key.",
        )
        types.append(mine.type)
    return tuple(types)


def _side(draft: TableDraft, column: str, link: tuple[str, ...], where: str) -> Side:
    """Refuse a link without an index: each write would read the whole table."""
    usable = [i for i in draft.table.indexes if i.valid and not i.partial and not i.without_overlaps]
    if not any({*i.columns[: len(link)]} == {*link} and " USING btree " in i.definition for i in usable):
        raise PreflightError(
            f"no index of {draft.full_name} begins with {', '.join(link)}",
            where=f"{where}.on",
            hint="Build one first: create_index.",
        )
    return Side(
        real=draft.real,
        full_name=draft.full_name,
        columns=(column,),
        link=link,
        key=draft.key,
        alone=_unique(draft.table, link),
    )


def _unique(table: Table, link: tuple[str, ...]) -> bool:
    """Tell whether at most one row has a link; one that is deferred may have two for a while."""
    return any(
        index.unique and index.valid and index.immediate and not index.partial and not index.expressions
        and bool(key_columns(table, index)) and {*key_columns(table, index)} <= {*link}
        for index in table.indexes
    )  # fmt: skip


def _refuse_many_to_many(moved: Moved, op: MoveColumn | Denormalize, where: str) -> None:
    if moved.copies and not moved.source.alone:
        raise SpecError(
            f"{', '.join(op.on)} is no key of {op.table}: which row is to be copied?",
            where=f"{where}.on",
            hint="Name a key of that table, or move the column the other way: move_column.",
        )
    if not (moved.source.alone or moved.target.alone):
        raise SpecError(
            f"neither {op.table} nor {op.to} has a unique index on what ties them",
            where=f"{where}.on",
            hint="Name a key of one of the two tables.",
        )
    if moved.source.alone and moved.when_differ != "refuse":
        raise SpecError(
            f"at most one row of {op.table} belongs to a row of {op.to}: there is nothing to choose from",
            where=f"{where}.when_differ",
            hint="Remove when_differ.",
        )


def _try(moved: Moved, source: TableDraft, target: TableDraft, where: str) -> None:
    new = quote(moved.target.column)
    target.rehearsal.try_on_new(f"alter table {{table}} add column {new} {moved.type}", where)
    if moved.when_differ != "refuse":
        target.rehearsal.try_on_new(
            f"select {moved.when_differ}({new}) from {{table}}", f"{where}.when_differ", "Write refuse."
        )
    if not moved.copies:
        source.rehearsal.try_on_new(f"alter table {{table}} drop column {quote(moved.source.column)}", where)


def _findings(moved: Moved, source: TableDraft, where: str) -> list[Finding]:
    found = [in_step(_named(moved), where)]
    if source.table.row_security:
        found.append(
            Finding(
                rule="LNK-04",
                severity="warning",
                message=f"{source.full_name} has row security, and {moved.target.full_name} shows {moved.target.column}"
                " to everybody who may read its rows",
                where=where,
            )
        )
    if not moved.copies:
        found += lost_indexes(source.table, [moved.source.column], where)
    return found


def _named(moved: Moved) -> str:
    return f"{moved.source.full_name}.{moved.source.column} and {moved.target.full_name}.{moved.target.column}"


def _steps(moved: Moved, source: TableDraft, target: TableDraft) -> list[Step]:
    both = (source.real, target.real)
    what = _named(moved)
    at = f"{source.full_name}/{moved.source.column}"
    columns = {column.name: column.type for column in target.table.columns}
    return [
        begin(moved, both, at, what),
        Step(
            key=f"backfill/{target.full_name}/{moved.target.column} rows",
            phase=Phase.BACKFILL,
            title=f"fill {moved.target.column} of {target.full_name} from {source.full_name} for rows that exist",
            action=Backfill(
                table=target.real,
                key=target.key,
                key_types=tuple(columns[name] for name in target.key),
                assignments=(Assignment(column=moved.target.column, type=moved.type, expression=moved.fill()),),
                alias=target.table.name,
            ),
        ),
        end(moved, both[::-1] if moved.copies else both, at, what),
    ]
