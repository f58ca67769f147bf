"""merge_tables: the columns stand in both tables, in step, until `contract` drops the second.

What keeps them in step is in `planning.linked.halves`.
"""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.attached.belongings import grants_of, privileges
from tasks.engines.postgresql.planning.checks.domains import beneath, silent
from tasks.engines.postgresql.planning.checks.require import existing_column, free_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.keys import choose_key
from tasks.engines.postgresql.planning.linked import halves_gates, preconditions
from tasks.engines.postgresql.planning.linked.announced import in_step
from tasks.engines.postgresql.planning.linked.halves import Halves
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side
from tasks.engines.postgresql.planning.linked.steps import begin, end, swap
from tasks.engines.postgresql.planning.move import Move
from tasks.engines.postgresql.planning.operations.drop_table import draft_drop_table
from tasks.model.catalogue import Column, Constraint
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import MergeTables
from tasks.model.plan import Finding
from tasks.model.spec import BackfillOptions
from tasks.model.steps import Assignment, Backfill, Phase, Step


def draft_merge_tables(
    op: MergeTables, whole: TableDraft, part: TableDraft, backfill: BackfillOptions, where: str
) -> None:
    """Add the columns to the first table, keep both in step, and drop the second."""
    tie = _tie(whole, part, where)
    for draft, rows in ((whole, False), (part, True)):
        preconditions.check(draft, backfill.user_triggers, where, rows=rows)
    if part.table.row_security:
        raise PreflightError(
            f"{part.full_name} has row security, which would not hold for the columns in {whole.full_name}",
            where=where,
            hint="Drop its policies and disable it first, if everybody who reads the one table may read the other.",
        )
    columns = [column for column in part.table.columns if column.name not in tie.columns]
    names = _names(op, whole, columns, where)
    for column in columns:
        preconditions.movable(part, column, where)
    draft_drop_table(part, where)
    whole.key = choose_key(whole, backfill.key)
    halves = Halves(
        outbox=Outbox(
            migration=whole.migration,
            about=f"{whole.full_name}\0{part.full_name}\0halves",
            types=_types(whole, part, tie, where),
            search_path=whole.search_path,
        ),
        whole=Side(
            real=whole.real,
            full_name=whole.full_name,
            columns=names,
            link=tie.referenced_columns,
            key=whole.key,
            alone=True,
        ),
        part=Side(
            real=part.real,
            full_name=part.full_name,
            columns=tuple(column.name for column in columns),
            link=tie.columns,
            key=tie.columns,
            alone=True,
        ),
        types=tuple(column.type for column in columns),
        needed=tuple(name for name, column in zip(names, columns, strict=True) if not column.nullable),
        when_null="no_row",
        merges=True,
    )
    for name, column in zip(names, columns, strict=True):
        # Whoever does not know the column says nothing about it, whatever its domain would say.
        whole.add_column(name, column.type, like=column, default=silent(beneath(whole, name, where), where))
        whole.expand.append(Move(forward=grants_of(whole.real, name, column.grants)))
        whole.shape.plain_new[name] = column.type
        if column.comment is not None:
            whole.comment(name, column.comment)
    swap(halves, whole, (whole.real, part.real))
    whole.comparisons += halves_gates.comparisons(halves)
    whole.requirements += halves_gates.requirements(halves)
    whole.findings.append(in_step(f"{whole.full_name} and {part.full_name}", where))
    if opened := _opened(whole, part):
        whole.findings.append(
            Finding(
                rule="LNK-07",
                severity="warning",
                message=f"{', '.join(opened)} may read or write {whole.full_name}, and so from the beginning of the run"
                f" columns of {part.full_name} that were closed to it",
                where=where,
                hint=f"Grant {whole.full_name} by columns first, if that must not be.",
            )
        )
    whole.spec.steps += _steps(halves, whole)


def _opened(whole: TableDraft, part: TableDraft) -> list[str]:
    """Return the roles that the whole table is granted to for something that the second is not."""
    given = {(role, letter) for role, letter, _ in privileges(part.table.grants)}
    held = {(role, letter) for role, letter, _ in privileges(whole.table.grants) if letter in "arw"}
    held |= {(quote(whole.table.owner), letter) for letter in "arw"}
    closed = {role for role, letter in held if not {(role, letter), ("public", letter)} & given}
    return sorted(closed - {quote(part.table.owner)})


def _tie(whole: TableDraft, part: TableDraft, where: str) -> Constraint:
    """Return the foreign key that makes the second table a part of the first: one row, and none without the other."""
    primary = next((one for one in part.table.constraints if one.kind == "primary key"), None)
    ties = [
        one for one in part.table.constraints
        if one.kind == "foreign key" and one.referenced_table == whole.full_name
        and primary is not None and {*one.columns} == {*primary.columns}
    ]  # fmt: skip
    if not ties or primary is None or primary.deferrable:
        raise PreflightError(
            f"the primary key of {part.full_name} does not refer to {whole.full_name}: rows could be several, or"
            " belong to none",
            where=where,
            hint="Give it such a foreign key first: create_constraint has rules for rows that belong to none.",
        )
    (tie, *_) = ties
    if not (tie.validated and tie.enabled) or tie.deferrable or " ON DELETE CASCADE" not in tie.definition:
        raise PreflightError(
            f"{tie.name} of {part.full_name} is not ON DELETE CASCADE, or deferrable, or not validated: new"
            f" applications could not delete a row of {whole.full_name}",
            where=where,
            hint="Put a foreign key with ON DELETE CASCADE into its place first.",
        )
    return tie


def _names(op: MergeTables, whole: TableDraft, columns: Sequence[Column], where: str) -> tuple[str, ...]:
    known = {column.name for column in columns}
    if not columns:
        raise SpecError(
            f"{op.from_} has no column beside its key", where=where, hint="Write drop_table, or a boolean column."
        )
    if unknown := sorted(op.columns.keys() - known):
        raise SpecError(
            f"{op.from_} has no column {', '.join(unknown)} beside its key",
            where=f"{where}.columns",
            hint=f"It has: {', '.join(sorted(known))}.",
        )
    names = tuple(op.columns.get(column.name, column.name) for column in columns)
    for name, column in zip(names, columns, strict=True):
        free_column(whole, name, f"{where}.columns")
        if names.count(name) > 1:
            raise SpecError(f"two columns become {name}", where=f"{where}.columns", hint="Choose another name.")
        whole.rehearsal.try_on_new(f"alter table {{table}} add column {quote(name)} {column.type}", where)
    return names


def _types(whole: TableDraft, part: TableDraft, tie: Constraint, where: str) -> tuple[str, ...]:
    types = []
    for mine, theirs in zip(tie.referenced_columns, tie.columns, strict=True):
        of_whole, of_part = existing_column(whole, mine, where), existing_column(part, theirs, where)
        if of_whole.type != of_part.type:
            raise SpecError(
                f"{whole.full_name}.{mine} is of type {of_whole.type}, {part.full_name}.{theirs} of {of_part.type}",
                where=where,
                hint="Give both the same type in a migration of its own first: alter_column.",
            )
        types.append(of_whole.type)
    listed = ", ".join(quote(one) for one in tie.referenced_columns)
    whole.rehearsal.try_on_new(f"select pg_catalog.hash_record(row({listed})) from {{table}}", where)
    return tuple(types)


def _steps(halves: Halves, draft: TableDraft) -> list[Step]:
    whole, part = halves.whole, halves.part
    both = (whole.real, part.real)
    what = f"{whole.full_name} and {part.full_name}"
    at = f"{whole.full_name}/{part.full_name}"
    types = {column.name: column.type for column in draft.table.columns}
    return [
        begin(halves, both, at, what),
        Step(
            key=f"backfill/{whole.full_name}/{part.full_name} rows",
            phase=Phase.BACKFILL,
            title=f"fill {', '.join(whole.columns)} of {whole.full_name} from {part.full_name} for rows that exist",
            action=Backfill(
                table=whole.real,
                key=whole.key,
                key_types=tuple(types[name] for name in whole.key),
                assignments=tuple(
                    Assignment(column=name, type=type_name, expression=halves.fill(number))
                    for number, (name, type_name) in enumerate(zip(whole.columns, halves.types, strict=True), 1)
                ),
                alias=draft.table.name,
            ),
        ),
        end(halves, both[::-1], at, what),
    ]
