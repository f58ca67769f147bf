"""Draw up the plan of an expand-contract migration. Nothing is changed: what is tried is rolled back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from tasks.engines.postgresql.inspect import estimates, inspect
from tasks.engines.postgresql.planning import assemble, versions
from tasks.engines.postgresql.planning.attached import carry
from tasks.engines.postgresql.planning.checks import before_run, gates, obstacles, old_shape, standing
from tasks.engines.postgresql.planning.checks.dependents import (
    nothing_built_on,
    nothing_else_draws,
    nothing_refers_to,
)
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.keys import choose_key
from tasks.engines.postgresql.planning.linting import linted
from tasks.engines.postgresql.planning.operations.add_column import draft_add_column
from tasks.engines.postgresql.planning.operations.alter_column import draft_alter_column
from tasks.engines.postgresql.planning.operations.alter_type import draft_alter_type, tables_of_domains
from tasks.engines.postgresql.planning.operations.api_version import draft_create_api_version, draft_drop_api_version
from tasks.engines.postgresql.planning.operations.clean_column import draft_clean_column
from tasks.engines.postgresql.planning.operations.convert_renamed import draft_convert_renamed
from tasks.engines.postgresql.planning.operations.create_constraint import draft_create_constraint
from tasks.engines.postgresql.planning.operations.create_index import draft_create_index
from tasks.engines.postgresql.planning.operations.create_table import draft_create_table
from tasks.engines.postgresql.planning.operations.create_type import draft_create_type, still_unused
from tasks.engines.postgresql.planning.operations.drop_column import draft_drop_column
from tasks.engines.postgresql.planning.operations.drop_constraint import draft_drop_constraint
from tasks.engines.postgresql.planning.operations.drop_index import draft_drop_index, tables_of_indexes
from tasks.engines.postgresql.planning.operations.drop_multicolumn_constraint import (
    draft_drop_multicolumn_constraint,
)
from tasks.engines.postgresql.planning.operations.drop_table import draft_drop_table, finish_drops, whole_table
from tasks.engines.postgresql.planning.operations.drop_type import draft_drop_type
from tasks.engines.postgresql.planning.operations.extract_junction import draft_extract_junction
from tasks.engines.postgresql.planning.operations.extract_lookup import draft_extract_lookup
from tasks.engines.postgresql.planning.operations.merge_tables import draft_merge_tables
from tasks.engines.postgresql.planning.operations.move_column import draft_move_column
from tasks.engines.postgresql.planning.operations.rename_column import draft_rename_column
from tasks.engines.postgresql.planning.operations.rename_constraint import draft_rename_constraint
from tasks.engines.postgresql.planning.operations.rename_last import draft_rename_last, show_new_shape
from tasks.engines.postgresql.planning.operations.rename_table import draft_rename_table, refuse_same_names
from tasks.engines.postgresql.planning.operations.set_replica_identity import (
    draft_replica_identity,
    resolve_replica_identity,
)
from tasks.engines.postgresql.planning.operations.split_table import draft_split_table
from tasks.engines.postgresql.planning.operations.sql import draft_sql
from tasks.engines.postgresql.planning.outcome import outcome
from tasks.engines.postgresql.planning.rehearsal import Rehearsal
from tasks.engines.postgresql.planning.resolve import resolve
from tasks.engines.postgresql.planning.restrictions.between import between_constraints
from tasks.engines.postgresql.planning.restrictions.conversions import Places
from tasks.engines.postgresql.planning.risk import risk
from tasks.engines.postgresql.planning.shape import Shape
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.catalogue import Catalogue, Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import (
    AddColumn,
    AlterColumn,
    AlterType,
    AnyOperation,
    CleanColumn,
    CreateApiVersion,
    CreateConstraint,
    CreateIndex,
    CreateTable,
    CreateType,
    Denormalize,
    DropApiVersion,
    DropColumn,
    DropConstraint,
    DropIndex,
    DropMulticolumnConstraint,
    DropTable,
    DropType,
    ExtractJunction,
    ExtractLookup,
    MergeTables,
    MoveColumn,
    RebuildTable,
    RenameColumn,
    RenameConstraint,
    RenameTable,
    SetReplicaIdentity,
    SplitTable,
    Sql,
)
from tasks.model.plan import Addition, DumpTarget, Finding, Plan
from tasks.model.spec import BackfillOptions, MigrationSpec

Connection = psycopg.Connection[Any]
ConstraintOperation = CreateConstraint | DropConstraint | DropMulticolumnConstraint | RenameConstraint
Linked = MoveColumn | Denormalize | MergeTables | ExtractJunction
Alone = ExtractLookup | SplitTable | CreateApiVersion
DROPS_CONSTRAINT = (DropConstraint, DropMulticolumnConstraint)


def plan(conn: Connection, spec: MigrationSpec, search_path: str) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Raises SpecError and PreflightError with the place in the spec. Locks: ACCESS SHARE on the tables.
    """
    try:
        found = _plan(conn, spec, search_path)
    except (SpecError, PreflightError) as error:
        error.where = spec.folding.written_at(error.where)
        raise
    return found


def _plan(conn: Connection, spec: MigrationSpec, search_path: str) -> Plan:
    asked, folding = spec, spec.folding
    spec = asked.model_copy(update={"operations": tuple(op for _, op in folding.operations)})
    places = [f"operations[{number}].{asked.operations[number].kind}" for number, _ in folding.operations]
    work = list(zip(places, spec.operations, strict=True))
    created = {op.name for op in spec.operations if isinstance(op, CreateTable)}
    of_indexes = tables_of_indexes(conn, work, search_path)
    names = {name for op in spec.operations for name in op.tables} - created
    names |= {*of_indexes.values(), *tables_of_domains(conn, spec.operations, search_path)}
    catalogue = inspect(conn, sorted(names), search_path)
    sizes = estimates(conn, catalogue.tables)
    with _rolled_back(conn, search_path):
        whole = SpecDraft(conn=conn, catalogue=catalogue, search_path=search_path)
        whole.makes_version = spec.version_schema is not None
        whole.versions = frozenset(versions.known(conn))
        drafts = _draft(whole, spec, work, catalogue, of_indexes)
        version = versions.versions_of(whole, spec, drafts)
        whole.version = version.new if version is not None else None
        if version is not None:
            whole.steps += versions.steps(version, drafts)
            for draft in drafts:
                versions.follow(draft, version)
        # After the views of the version before, which show the tables.
        finish_drops({draft.full_name: draft for draft in drafts}, whole)
        findings = (
            *(Finding(rule="SPC-01", severity="note", message=note) for note in folding.notes),
            *(Finding(rule="SPC-02", severity="note", message=note) for note in folding.read_before),
            *whole.findings,
            *(finding for draft in drafts for finding in draft.findings),
        )
        findings = tuple(one.model_copy(update={"where": folding.written_at(one.where)}) for one in findings)
        for where, op in work:
            if isinstance(op, DropType):
                whole.requirements.append(draft_drop_type(op, whole, drafts, where))
        steps = (*assemble.steps(drafts, whole.steps), *whole.last_steps)
        comparisons = tuple(c for draft in drafts for c in (*gates.comparisons(draft), *draft.comparisons))
        requirements = tuple(
            [r for draft in drafts for r in gates.requirements(draft)]
            + [r for draft in drafts for r in gates.filled(draft)]
            + [r for draft in drafts for r in gates.parity_after_swap(draft)]
            + [r for draft in drafts for r in old_shape.requirements(draft)]
            + [gates.structure_after_swap(draft) for draft in drafts]
            + [r for draft in drafts for r in gates.standing_after_swap(draft)]
            + [nothing_built_on(draft) for draft in drafts if draft.shape.plain_new or draft.shape.targets]
            + [r for draft in drafts for r in nothing_else_draws(draft)]
        )
        requirements += (*whole.requirements, *still_unused(whole, drafts, spec.operations))
        requirements += tuple(nothing_refers_to(sorted({*whole.created.values()}), drafts, whole.version))
        if version is not None:
            requirements += tuple(versions.nothing_built_on(version))
        requirements += tuple(r for draft in drafts for r in before_run.requirements(draft))
        requirements += tuple(r for draft in drafts for r in before_run.coming_back(draft, comparisons))
        requirements += tuple(standing.sequences_ahead(draft.table) for draft in drafts if draft.table.sequences)
        conversions = tuple(c for draft in drafts for c in before_run.conversions(draft))
        requirements += tuple(gates.never_empty(spec.migration, (*comparisons, *requirements)))
        dumps = tuple(dump for draft in drafts for dump in _dumps(draft))
        after = outcome(drafts, steps)
    findings += tuple(linted(steps, catalogue.version))
    level, reasons = risk(spec, steps, sizes, findings)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        spec=asked.model_dump(mode="json", exclude_defaults=True),
        spec_digest=asked.spec_digest,
        written_out=_written_out(spec) if folding.notes else (),
        catalogue=catalogue,
        search_path=search_path,
        steps=steps,
        version=whole.version,
        comparisons=comparisons,
        requirements=requirements,
        conversions=conversions,
        dumps=dumps,
        additions=tuple(_addition(draft) for draft in drafts),
        outcome=after,
        estimates=sizes,
        risk=level,
        risk_reasons=reasons,
        findings=findings,
    )


@contextmanager
def _rolled_back(conn: Connection, search_path: str) -> Iterator[None]:
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        yield


def _written_out(spec: MigrationSpec) -> tuple[dict[str, object], ...]:
    return tuple({op.kind: op.model_dump(mode="json", by_alias=True, exclude_unset=True)} for op in spec.operations)


def _draft(
    whole: SpecDraft,
    spec: MigrationSpec,
    work: Sequence[tuple[str, AnyOperation]],
    catalogue: Catalogue,
    of_indexes: Mapping[str, str],
) -> list[TableDraft]:
    drafts: dict[str, TableDraft] = {}
    for number, table in enumerate(catalogue.tables):
        obstacles.unfinished(whole.conn, table, spec.migration)
        obstacles.of_table(table)
        drafts[table.full_name] = _table_draft(whole, spec, table, number)
    places: dict[tuple[str, str, str], str] = {}
    last: dict[str, str] = {}
    renamed = _converted_under_another_name(spec)
    # What is dropped first does not stand in the way of trying the rest.
    for where, op in sorted(work, key=lambda one: not isinstance(one[1], DROPS_CONSTRAINT)):
        if isinstance(op, CreateTable | Sql | CreateType | AlterType | DropApiVersion):
            _of_no_table(op, whole, where, work)
        elif isinstance(op, RenameTable) and _beside_others(op, work):
            last[_full_name(whole, op.from_, where)] = where
            draft_rename_last(op, drafts[_full_name(whole, op.from_, where)], where)
        elif isinstance(op, DropTable | RenameTable | SetReplicaIdentity | Linked | Alone):
            concerned = [drafts[_full_name(whole, name, where)] for name in op.tables]
            _of_whole_tables(op, concerned, spec.backfill, where)
        elif isinstance(op, RebuildTable):
            raise AssertionError("a spec with rebuild_table has another strategy")
        elif not isinstance(op, DropIndex | DropType) and not _of_new_table(op, whole):
            draft = drafts[_full_name(whole, op.table, where)]
            op = (op.archiving if isinstance(op, AlterColumn) else None) or op
            if isinstance(op, ConstraintOperation):
                found = _of_constraints(op, draft, spec.backfill, where)
                places |= {(draft.full_name, *key): place for key, place in found.items()}
            else:
                _contribute(op, draft, where, places, renamed)
    for where, op in ((place, one) for place, one in work if isinstance(one, DropIndex)):
        # Last: what else becomes of its table is known only now.
        draft_drop_index(op, drafts[of_indexes[op.name]], where)
    refuse_same_names(drafts.values(), whole)
    obstacles.between_tables(drafts)
    between_constraints(drafts)
    for draft in drafts.values():
        _finish(draft, spec, places)
        show_new_shape(draft, last.get(draft.full_name))
    return list(drafts.values())


def _converted_under_another_name(spec: MigrationSpec) -> dict[tuple[str, str], str]:
    """Map columns that are converted and get another name, by table and name of today, to that name."""
    converted = {(op.table, op.column) for op in spec.operations if isinstance(op, AlterColumn) and op.converts}
    renames = [op for op in spec.operations if isinstance(op, RenameColumn)]
    return {(op.table, op.from_): op.to for op in renames if (op.table, op.from_) in converted}


def _column(op: AlterColumn | RenameColumn) -> str:
    return op.column if isinstance(op, AlterColumn) else op.from_


def _convert_renamed(
    op: AlterColumn | RenameColumn, draft: TableDraft, where: str, places: dict[tuple[str, str, str], str], to: str
) -> None:
    """Plan both at the conversion, which comes first."""
    if isinstance(op, AlterColumn):
        draft_convert_renamed(op, to, draft, where)
        places[draft.full_name, "up", to] = f"{where}.up"
        places[draft.full_name, "down", op.column] = f"{where}.down"


def _of_new_table(op: AnyOperation, whole: SpecDraft) -> bool:
    """Tell whether this is an index of a table that the spec creates, and is made with it."""
    return isinstance(op, CreateIndex) and op.table in whole.created


def _beside_others(op: RenameTable, work: Sequence[tuple[str, AnyOperation]]) -> bool:
    """Tell whether anything else of the spec concerns the table, or refers to it."""
    return any(op.from_ in (*one.tables, *one.referenced) for _, one in work if one is not op)


def _full_name(whole: SpecDraft, name: str, where: str) -> str:
    if name in whole.created:
        raise SpecError(
            f"{name} is created by this spec",
            where=where,
            hint="Write it into create_table, or use a second spec.",
        )
    quoted = whole.resolve_table(name, where)
    return next(t.full_name for t in whole.catalogue.tables if quoted == f"{quote(t.schema_name)}.{quote(t.name)}")


def _table_draft(whole: SpecDraft, spec: MigrationSpec, table: Table, number: int) -> TableDraft:
    return TableDraft(
        table=table,
        rehearsal=Rehearsal(whole.conn, table, number),
        spec=whole,
        shape=Shape(
            columns=tuple(column.name for column in table.columns),
            types={column.name: column.type for column in table.columns},
        ),
        migration=spec.migration,
        search_path=whole.search_path,
    )


def _of_no_table(
    op: CreateTable | Sql | CreateType | AlterType | DropApiVersion,
    whole: SpecDraft,
    where: str,
    work: Sequence[tuple[str, AnyOperation]],
) -> None:
    match op:
        case CreateTable():
            indexes = [(place, one) for place, one in work if isinstance(one, CreateIndex) and one.table == op.name]
            draft_create_table(op, whole, where, indexes)
        case Sql():
            draft_sql(op, whole, where)
        case CreateType():
            draft_create_type(op, whole, where)
        case AlterType():
            whole.requirements += draft_alter_type(op, whole, where)
        case DropApiVersion():
            draft_drop_api_version(op, whole, where)


def _of_whole_tables(
    op: DropTable | RenameTable | SetReplicaIdentity | Linked | Alone,
    drafts: Sequence[TableDraft],
    backfill: BackfillOptions,
    where: str,
) -> None:
    match op:
        case DropTable():
            draft_drop_table(drafts[0], where)
        case RenameTable():
            draft_rename_table(op, drafts[0], where)
        case SetReplicaIdentity():
            draft_replica_identity(op, drafts[0], where)
        case MoveColumn() | Denormalize():
            draft_move_column(op, drafts[0], drafts[1], backfill, where)
        case MergeTables():
            draft_merge_tables(op, drafts[0], drafts[1], backfill, where)
        case ExtractJunction():
            draft_extract_junction(op, drafts[0], drafts[-1], backfill, where)
        case ExtractLookup():
            draft_extract_lookup(op, drafts[0], backfill, where)
        case SplitTable():
            draft_split_table(op, drafts[0], backfill, where)
        case CreateApiVersion():
            draft_create_api_version(op, drafts[0], where)


def _of_constraints(op: ConstraintOperation, draft: TableDraft, backfill: BackfillOptions, where: str) -> Places:
    match op:
        case CreateConstraint():
            return draft_create_constraint(op, draft, backfill, where)
        case DropConstraint():
            return draft_drop_constraint(op, draft, where)
        case DropMulticolumnConstraint():
            return draft_drop_multicolumn_constraint(op, draft, where)
        case RenameConstraint():
            draft_rename_constraint(op, draft, where)
            return {}


def _contribute(
    op: AddColumn | AlterColumn | CleanColumn | CreateIndex | DropColumn | RenameColumn,
    draft: TableDraft,
    where: str,
    places: dict[tuple[str, str, str], str],
    renamed: Mapping[tuple[str, str], str],
) -> None:
    match op:
        case AlterColumn() | RenameColumn() if (op.table, _column(op)) in renamed:
            _convert_renamed(op, draft, where, places, renamed[op.table, _column(op)])
        case AddColumn():
            draft_add_column(op, draft, where)
            places[draft.full_name, "up", op.column.name] = f"{where}.up"
        case AlterColumn():
            draft_alter_column(op, draft, where)
            places[draft.full_name, "up", op.column] = f"{where}.up"
            places[draft.full_name, "down", op.column] = f"{where}.down"
        case CleanColumn():
            draft_clean_column(op, draft, where)
        case DropColumn():
            draft_drop_column(op, draft, where)
            places[draft.full_name, "down", op.column] = f"{where}.down"
        case RenameColumn():
            draft_rename_column(op, draft, where)
        case CreateIndex():
            draft_create_index(op, draft, where)


def _finish(draft: TableDraft, spec: MigrationSpec, places: dict[tuple[str, str, str], str]) -> None:
    """Settle what needs to know all operations on the table. The order of the moves is that of the swap."""
    options = spec.backfill
    if draft.shape.targets:
        draft.key = choose_key(draft, options.key)
    here = {(direction, column): where for (t, direction, column), where in places.items() if t == draft.full_name}
    resolve(draft, here)
    resolve_replica_identity(draft)
    obstacles.of_columns(draft)
    obstacles.of_updates(draft)
    draft.findings += obstacles.user_triggers(draft, options.user_triggers, _may_bypass(draft))
    by_operations, draft.moves = draft.moves, []
    if draft.shape.targets or draft.shape.retired:
        draft.swap(forward=[draft.dual.function(swapped=True)], inverse=draft.remove_new_shape())
    carry.detach(draft)
    carry.rename(draft)
    draft.moves += by_operations
    carry.attach(draft)


def _may_bypass(draft: TableDraft) -> bool:
    row = draft.rehearsal.conn.execute(
        "select current_setting('is_superuser') = 'on' or has_parameter_privilege('session_replication_role', 'set')"
    ).fetchone()
    return bool(row and row[0])


def _addition(draft: TableDraft) -> Addition:
    columns = (*draft.shape.plain_new, *(target.before for target in draft.shape.targets))
    return Addition(table=draft.full_name, columns=columns)


def _dumps(draft: TableDraft) -> Iterator[DumpTarget]:
    yield from whole_table(draft)
    old = draft.shape.old(swapped=True)
    lost = sorted({*draft.touched})
    if lost:
        yield DumpTarget(
            table=draft.full_name,
            key=tuple(c for c in draft.key if c not in lost),
            columns=tuple(lost),
            columns_after=tuple(old[name] for name in lost),
        )
