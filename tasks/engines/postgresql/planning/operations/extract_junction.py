"""extract_junction: the column and the rows of the junction stand side by side, in step, until `contract`.

What keeps them in step is in `planning.linked.junction`.
"""

from tasks.engines.postgresql.planning.attached.belongings import privileges
from tasks.engines.postgresql.planning.checks.obstacles import visible
from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked import junction_gates, preconditions, referred_rows
from tasks.engines.postgresql.planning.linked.announced import in_step, lost_indexes, unpublished
from tasks.engines.postgresql.planning.linked.junction import WHOLE_NUMBERS, Holds, Junction
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side
from tasks.engines.postgresql.planning.linked.steps import begin, end, swap
from tasks.engines.postgresql.planning.lock_order import unique
from tasks.model.catalogue import Column, Constraint
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import ExtractJunction
from tasks.model.plan import Finding
from tasks.model.spec import BackfillOptions
from tasks.model.steps import Assignment, Copy, Lock, LockMode, Phase, ShortTransaction, Step, Validation


def draft_extract_junction(
    op: ExtractJunction, draft: TableDraft, other: TableDraft, backfill: BackfillOptions, where: str
) -> None:
    """Make the table, keep both in step, and retire the column."""
    column = existing_column(draft, op.column, where)
    preconditions.check(draft, backfill.user_triggers, where)
    visible(other, other.real, f"{where}.references")
    preconditions.no_policies(
        draft,
        where,
        "Make a table with policies of its own, and fill it, in migrations of your own: create_table, sql.",
    )
    key = preconditions.primary_key(draft, op.key, (op.column,), where, beside=(op.new_name,))
    holds, tie, reference, referred = _references(op, draft, other, column, where)
    preconditions.movable(draft, column, where, but=tie.name if tie is not None else "")
    schema, name = draft.spec.split_name(op.to)
    for taken in (name, op.index):
        if draft.spec.relation_exists(schema, taken):
            raise SpecError(f"{schema}.{taken} exists already", where=f"{where}.to", hint="Choose another name.")
    draft.rehearsal.try_on_new(f"alter table {{table}} drop column {quote(op.column)}", where)
    draft.key = tuple(one.name for one in key)
    new_key = tuple(op.key.get(one.name, one.name) for one in key)
    junction = Junction(
        outbox=Outbox(
            migration=draft.migration,
            about=f"{draft.full_name}\0{op.column}\0junction",
            types=tuple(one.type for one in key),
            search_path=draft.search_path,
        ),
        whole=Side(
            real=draft.real, full_name=draft.full_name, columns=(op.column,), link=draft.key, key=draft.key, alone=True
        ),
        part=Side(
            real=f"{quote(schema)}.{quote(name)}",
            full_name=f"{schema}.{name}",
            columns=(op.new_name,),
            link=new_key,
            key=(*new_key, op.new_name),
            alone=False,
        ),
        type=reference.type,
        collation=preconditions.collation(reference),
        column_type=column.type,
        holds=holds,
        other=other.real,
        other_column=referred,
        other_name=other.full_name,
        other_generated=next(one.generated is not None for one in other.table.columns if one.name == referred),
        delimiter=op.delimiter or "",
        never_null=not column.nullable,
        versions=draft.spec.makes_version,
    )
    draft.spec.created[op.to] = draft.spec.created[f"{schema}.{name}"] = junction.part.real
    draft.touched.add(op.column)
    draft.shape.dropped.add(op.column)
    draft.contract.append(f"drop column if exists {quote(op.column)}")
    draft.restore_not_null(column)
    if not column.nullable:
        draft.swap(forward=[draft.alter(f"alter column {quote(op.column)} drop not null")])
    if tie is not None:
        _let_go(draft, tie, junction, where)
    swap(junction, draft, (draft.real, junction.part.real))
    draft.comparisons += junction_gates.comparisons(junction)
    draft.requirements += junction_gates.requirements(junction, f"dual_write/{_at(junction)} triggers")
    draft.findings += _findings(junction, draft, column, where)
    draft.spec.steps += _steps(op, junction, draft, [*zip(key, new_key, strict=True)], column, tie)


def _references(
    op: ExtractJunction, draft: TableDraft, other: TableDraft, column: Column, where: str
) -> tuple[Holds, Constraint | None, Column, str]:
    """Return what the column holds, its foreign key, a column for one reference, and the column that it refers to."""
    tie = next(
        (
            one for one in draft.table.constraints
            if one.kind == "foreign key" and one.columns == (op.column,) and one.referenced_table == other.full_name
        ),
        None,
    )  # fmt: skip
    if tie is not None and op.delimiter is None:
        if not (tie.validated and tie.enabled):
            raise PreflightError(
                f"{tie.name} of {draft.full_name} is not validated, or disabled: rows could refer to nothing",
                where=where,
                hint="Validate it first: alter table ... validate constraint.",
            )
        preconditions.comparable(draft, op.column, where)
        return "one", tie, column, tie.referenced_columns[0]
    array = op.delimiter is None and column.type.endswith("[]")
    if not array and op.delimiter is None:
        raise PreflightError(
            f"{op.column} of {draft.full_name} is no foreign key to {other.full_name}, and no array",
            where=where,
            hint="Give it one first: create_constraint has rules for rows that belong to none. Or write `delimiter`.",
        )
    if op.delimiter is not None and not column.type.startswith(("text", "character")):
        raise SpecError(
            f"{op.column} is of the type {column.type}, and no text", where=f"{where}.delimiter", hint="Remove it."
        )
    if op.delimiter is not None and "(" in column.type:
        raise PreflightError(
            f"{op.column} is of the type {column.type}: a row can have more references than fit into it",
            where=where,
            hint="Make it text in a migration of its own first: alter_column.",
        )
    key = preconditions.primary_key(other, {}, (), where)
    if len(key) > 1:
        raise PreflightError(
            f"the primary key of {other.full_name} has several columns: no single value refers to its rows",
            where=f"{where}.references",
            hint="Give that table a key of one column first.",
        )
    (referred,) = key
    element = column.type.removesuffix("[]") if array else referred.type
    if element != referred.type and not {element, referred.type} <= WHOLE_NUMBERS:
        raise SpecError(
            f"{op.column} holds values of the type {element}, and the key of {other.full_name} is {referred.type}",
            where=where,
            hint="Give both the same type in a migration of its own first: alter_column.",
        )
    preconditions.comparable(*((draft, op.column) if array else (other, referred.name)), where)
    if array:
        return "array", None, column.model_copy(update={"type": element}), referred.name
    return "list", None, referred, referred.name


def _let_go(draft: TableDraft, tie: Constraint, junction: Junction, where: str) -> None:
    """Let the column follow what is deleted, from the swap on: a new application has taken the rows between away first.

    Until then its foreign key says what is refused and what goes along, and a rollback brings that back.
    """
    draft.dropped_constraints[tie.name] = where
    passing = own_name("passing", tie.name)
    draft.passing_constraints.append(passing)
    draft.swap(
        forward=[
            draft.alter(
                f"add constraint {quote(passing)} foreign key ({quote(junction.whole.column)})"
                f" references {junction.other} ({quote(junction.other_column)}) {referred_rows.ACTS} not valid"
            ),
            referred_rows.define(junction, referred_rows.ACTS),
        ],
        inverse=[referred_rows.define(junction, tie.definition), draft.alter(f"drop constraint {quote(passing)}")],
    )


def _create(
    op: ExtractJunction, junction: Junction, draft: TableDraft, key: list[tuple[Column, str]], column: Column
) -> list[str]:
    """The foreign keys never refuse what the old shape allows: what is deleted or gets another key is followed."""
    part = junction.part
    reference = quote(op.new_name)
    listed = ", ".join(quote(new) for _, new in key)
    of_whole, of_other = op.foreign_keys
    found = [
        f"create table {part.real} ("
        + ", ".join(f"{quote(new)} {one.type}{preconditions.collation(one)} not null" for one, new in key)
        + f", {reference} {junction.type}{junction.collation} not null,"
        f" primary key ({listed}, {reference}),"
        f" constraint {quote(of_whole)} foreign key ({listed}) references {draft.real}"
        f" ({', '.join(quote(one.name) for one, _ in key)}) on delete cascade on update cascade,"
        f" constraint {quote(of_other)} foreign key ({reference}) references {junction.other}"
        f" ({quote(junction.other_column)}) on delete cascade on update cascade)",
        f"create index {quote(op.index)} on {part.real} ({reference})",
        f"alter table {part.real} owner to {quote(draft.table.owner)}",
        f"revoke all on table {part.real} from public",
        *_grants(part.real, draft, column),
    ]
    for one, new in [*key, (column, op.new_name)]:
        if one.comment is not None:
            found.append(f"comment on column {part.real}.{quote(new)} is {literal(one.comment)}")
    return found


def _grants(target: str, draft: TableDraft, column: Column) -> list[str]:
    """Who reads the column reads the junction, and who writes it writes there."""
    means = {"r": ("select",), "a": ("insert",), "w": ("select", "insert", "update", "delete"), "d": ("delete",)}
    found: dict[tuple[str, str], None] = {}
    for role, letter, _ in (*privileges(draft.table.grants), *privileges(column.grants)):
        if role != quote(draft.table.owner):
            found |= dict.fromkeys((privilege, role) for privilege in means.get(letter, ()))
    return [f"grant {privilege} on {target} to {role}" for privilege, role in found]


def _at(junction: Junction) -> str:
    return f"{junction.whole.full_name}/{junction.part.full_name}"


def _steps(
    op: ExtractJunction,
    junction: Junction,
    draft: TableDraft,
    key: list[tuple[Column, str]],
    column: Column,
    tie: Constraint | None,
) -> list[Step]:
    whole, part = junction.whole, junction.part
    both = (whole.real, part.real)
    what = f"{whole.full_name}.{op.column} and {part.full_name}"
    at = _at(junction)
    referred = (whole.real, junction.other)
    ahead: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    if tie is not None:
        ahead, after = referred_rows.create(junction, tie.definition), referred_rows.drop(junction)
        over = (draft.alter(f"drop constraint if exists {quote(own_name('passing', tie.name))}"), *after)
    return [
        Step(
            key=f"expand/{part.full_name}/create",
            phase=Phase.EXPAND,
            title=f"create table {part.full_name} for {op.column} of {whole.full_name}",
            undo="drop it; what it says is in the column, too",
            action=ShortTransaction(
                locks=unique([Lock(table=one, mode=LockMode.SHARE_ROW_EXCLUSIVE) for one in referred], referred),
                forward=(*_create(op, junction, draft, key, column), *ahead),
                inverse=(*after, f"drop table if exists {part.real}"),
                inverse_locks=unique(
                    [Lock(table=one, mode=LockMode.ACCESS_EXCLUSIVE) for one in (*referred, part.real)], referred
                ),
            ),
        ),
        begin(junction, both, at, what),
        Step(
            key=f"backfill/{whole.full_name}/{part.full_name} rows",
            phase=Phase.BACKFILL,
            title=f"copy {op.column} of {whole.full_name} into {part.full_name} for rows that exist",
            action=_copy(junction, draft, key),
        ),
        Step(
            key=f"index/{part.full_name}/statistics",
            phase=Phase.INDEX,
            title=f"tell the planner what {part.full_name} holds",
            action=Validation(table=part.real, forward=(f"analyze {part.real}",)),
        ),
        end(junction, both, at, what, over),
    ]


def _copy(junction: Junction, draft: TableDraft, key: list[tuple[Column, str]]) -> Copy:
    whole, part, row = junction.whole, junction.part, quote(draft.table.name)
    reference, each = whole.value(row), ""
    if junction.holds != "one":
        reference = f"_changeover_each.value::{junction.type}"
        # What refers to nothing is left to the gate, which names it.
        known = f"select from {junction.other} as o where {junction.known('y.e')}"
        elements = f"unnest({junction.elements(row)}) as y (e)"
        each = f"(select y.e from {elements} where exists ({known})) as _changeover_each (value)"
    of_key = (Assignment(column=new, type=one.type, expression=f"{row}.{quote(one.name)}") for one, new in key)
    return Copy(
        table=whole.real,
        key=whole.key,
        key_types=tuple(one.type for one, _ in key),
        alias=draft.table.name,
        target=part.real,
        target_key=part.key,
        assignments=(*of_key, Assignment(column=part.column, type=junction.type, expression=reference)),
        where="" if each else f"{reference} is not null",
        each=each,
    )


def _findings(junction: Junction, draft: TableDraft, column: Column, where: str) -> list[Finding]:
    whole, part = junction.whole, junction.part
    found = [
        in_step(f"{whole.full_name}.{whole.column} and {part.full_name}", where),
        Finding(
            rule="LNK-05",
            severity="warning",
            message=f"from the beginning of the run {part.full_name} refers to {whole.full_name} and"
            f" {junction.other_name}: TRUNCATE of either needs CASCADE",
            where=where,
        ),
    ]
    if junction.holds != "one":
        found.append(
            Finding(
                rule="LNK-08",
                severity="warning",
                message=f"{part.full_name} does not know in which order {whole.column} has its values; and whoever"
                f" deletes a row of {junction.other_name} takes it out of {whole.column} from the swap on",
                where=where,
            )
        )
        found.append(
            Finding(
                rule="LNK-09",
                severity="warning",
                message=f"an application that has read {whole.column} and writes it back whole takes out what others"
                f" have put into {part.full_name} meanwhile",
                where=where,
                hint="Let it change single values in SQL, or lock the row before it reads.",
            )
        )
        found.append(
            Finding(
                rule="LNK-10",
                severity="warning",
                message=f"whoever deletes a row of {junction.other_name}, or changes its key, takes its rows of"
                f" {part.full_name} along from the beginning of the run: beside a DELETE of rows of {whole.full_name}"
                " either can be the victim of a deadlock (40P01)",
                where=where,
                hint=f"Take the value out of {whole.column} first, in the same transaction; or try again.",
            )
        )
    found += lost_indexes(draft.table, [column.name], where, f"{part.full_name} has one on {part.column}.")
    found += unpublished(draft.table, part.full_name, where)
    return found
