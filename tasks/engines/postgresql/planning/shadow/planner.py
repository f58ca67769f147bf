"""Draw up the plan of a migration by shadow table. Nothing is changed: what is tried is rolled back."""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.catalogue.estimate import room
from tasks.engines.postgresql.inspect import estimates, inspect
from tasks.engines.postgresql.planning.checks.obstacles import unfinished
from tasks.engines.postgresql.planning.keys import wanted_key
from tasks.engines.postgresql.planning.linting import linted
from tasks.engines.postgresql.planning.planner import plan
from tasks.engines.postgresql.planning.rehearsal import Rehearsal
from tasks.engines.postgresql.planning.risk import risk
from tasks.engines.postgresql.planning.shadow import (
    before_run,
    foreign_keys,
    generated,
    kept_step,
    obstacles,
    partitions,
    rules,
)
from tasks.engines.postgresql.planning.shadow.assemble import requirements, steps
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.engines.postgresql.planning.shadow.definition import written_out
from tasks.engines.postgresql.planning.shadow.division import divide, found_as, undivided
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.mapping import back, forth
from tasks.engines.postgresql.planning.shadow.places import Places
from tasks.engines.postgresql.planning.shadow.rehearse import alone, build_twin, carried, twin_of
from tasks.model.catalogue import Catalogue
from tasks.model.catalogue_difference import compare
from tasks.model.errors import ChangeoverError, SpecError
from tasks.model.operations import (
    AlterColumn,
    AnyOperation,
    CreateConstraint,
    DropConstraint,
    DropIndex,
    DropMulticolumnConstraint,
    RebuildTable,
    RenameConstraint,
    SetReplicaIdentity,
)
from tasks.model.plan import DumpTarget, Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Phase

MANY_ROWS = 1_000_000
"""A table with as many may be written in large statements."""


def plan_shadow(conn: Connection, spec: MigrationSpec, search_path: str) -> Plan:
    """Return the complete plan of a spec on the catalogue as it is now.

    Raises SpecError and PreflightError with the place in the spec. Locks: ACCESS SHARE on the tables.
    """
    names = sorted({name for op in spec.operations for name in op.tables})
    catalogue = inspect(conn, names, search_path)
    if len(catalogue.tables) != 1:
        raise SpecError(
            f"a shadow table is made for one table, and the spec names {len(catalogue.tables)}",
            where="operations",
            hint="Write a spec for each table.",
        )
    sizes = estimates(conn, catalogue.tables)
    with conn.transaction(force_rollback=True):
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        defined = written_out(conn, catalogue.tables[0], spec)
        worked = spec if defined is None else spec.model_copy(update={"operations": defined.operations})
        draft = _draft(conn, worked, catalogue, search_path, defined.where if defined else "")
        if defined is not None:
            defined.refuse_what_does_not_arrive(draft.new)
        found = steps(draft)
        checks = (*requirements(draft, found), *before_run.requirements(draft), *generated.requirements(draft))
        checks += (*before_run.coming_back(draft), *kept_step.comes_back(draft), kept_step.requirement(draft))
        conversions = tuple(before_run.conversions(draft))
    differences = compare(alone(draft.table), alone(draft.new))
    findings = (
        *obstacles.findings(draft.change, differences, room(conn, draft.places.real)),
        *_one_by_one(draft, max((one.rows for one in sizes), default=0)),
        *_in_place(conn, spec, search_path, draft.table.full_name),
        *linted(found, catalogue.version),
    )
    level, reasons = risk(worked, found, sizes, findings)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy="shadow_table",
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=search_path,
        steps=found,
        requirements=checks,
        conversions=conversions,
        dumps=tuple(_dumps(draft)),
        estimates=sizes,
        risk=level,
        risk_reasons=reasons,
        findings=findings,
        written_out=defined.as_written() if defined is not None else (),
    )


def _one_by_one(draft: Draft, rows: int) -> Iterator[Finding]:
    """Say what large statements cost where each row has a subtransaction of its own."""
    if rows >= MANY_ROWS and (draft.up.guarded or draft.down.guarded):
        yield Finding(
            rule="SHD-11",
            severity="note",
            message="from dual_write to contract each row that a statement writes takes a subtransaction, and a"
            " transaction ID: one with more than 64 makes all sessions look up rows more slowly while it is open",
            where=draft.table.full_name,
            hint="Let applications write very many rows in portions until the contract.",
        )


def _in_place(conn: Connection, spec: MigrationSpec, search_path: str, name: str) -> Iterator[Finding]:
    """Say when the other strategy would do the same without touching a row: its own plan tells."""
    if any(isinstance(op, RebuildTable) for op in spec.operations):
        return
    try:
        other = plan(conn, spec.model_copy(update={"strategy": "expand_contract"}), search_path)
    except ChangeoverError:
        return
    if not any(step.phase is Phase.BACKFILL for step in other.steps):
        yield Finding(
            rule="SHD-09",
            severity="warning",
            message=f"no row of {name} has to be copied for this: expand_contract changes the table in place",
            where=name,
            hint="Write `strategy: expand_contract`, or add rebuild_table where dead space shall go, too.",
        )


def _draft(conn: Connection, spec: MigrationSpec, catalogue: Catalogue, search_path: str, where: str) -> Draft:
    """Try the operations; `where` is the place of all of them, where a definition stands for them."""
    table = catalogue.tables[0]
    places = Places(migration=spec.migration, schema=table.schema_name, name=table.name)
    unfinished(conn, table, spec.migration)
    obstacles.of_table(conn, table)
    whole = undivided(table)
    build_twin(conn, whole, places.new)
    obstacles.refuse_differences(*found_as(whole, twin_of(conn, whole, places.new)))
    change = Change(table=table, twin=places.at(places.new), rehearsal=Rehearsal(conn, table, 0))
    for number, op in enumerate(spec.operations):
        _apply(change, op, where or f"operations[{number}].{op.kind}")
    change.finish()
    changed = twin_of(conn, table, places.new)
    after = change.in_order(change.filled_by_themselves(changed.columns))
    around = foreign_keys.with_keys(change, places.new)
    if change.computed or change.written:
        around = around.model_copy(update={"dependents": change.dependents(after)})
    new = carried(around, changed.model_copy(update={"columns": after}))
    obstacles.of_change(change, new)
    obstacles.of_functions(change)
    obstacles.of_publications(change, new, places)
    division = divide(change, new)
    new = division.table
    if new != table:
        with change.rehearsal.blaming(division.where):
            build_twin(conn, new, places.old, division.parts, division.options)
        found = twin_of(conn, new, places.old)
        obstacles.refuse_differences(*found_as(new, found))
        if division.parts:
            partitions.refuse_rights(conn, division.parts, places.old)
        partitions.refuse_names_in_use(conn, table, places.old)
        # With columns in another order, what names several of them does so in another order, too.
        new = carried(around, found).model_copy(update={"children": new.children})
    row_key = obstacles.choose_key(table, new, wanted_key(spec.backfill.key, table))
    change.require_order(row_key.columns)
    for column in row_key.columns:
        if column in change.ups or column in change.downs or column in change.computed or column in change.written:
            raise SpecError(
                f"{column} is part of the key by which rows are known, and gets other values",
                where=change.altered.get(column, table.full_name),
                hint="Name the columns of another unique key under backfill.key.",
            )
    return Draft(
        conn=conn,
        spec=spec,
        places=places,
        table=table,
        new=new,
        change=change,
        row_key=row_key,
        parts=partitions.parts_of(conn, table),
        new_parts=division.parts,
        options=division.options,
        search_path=search_path,
        forth=forth(change, new),
        back=back(change),
    )


def _apply(change: Change, op: AnyOperation, where: str) -> None:
    match op:
        case CreateConstraint():
            rules.create_constraint(change, op, where)
        case AlterColumn():
            change.apply(op, where)
            if op.orphans != "reject":
                raise rules.refused_rows(where)
            for one in op.constraints():
                rules.create_constraint(change, one, where)
        case RenameConstraint():
            rules.rename_constraint(change, op, where)
        case SetReplicaIdentity():
            rules.set_replica_identity(change, op, where)
        case DropConstraint() | DropMulticolumnConstraint():
            rules.drop_constraint(change, op, where)
        case DropIndex():
            rules.drop_index(change, op, where)
        case _:
            change.apply(op, where)


def _dumps(draft: Draft) -> Iterator[DumpTarget]:
    """What cannot be told from the new table: columns that are dropped, or have other values."""
    change = draft.change
    lost: Sequence[str] = sorted({*change.dropped, *change.recomputed, *change.converted(draft.new)})
    if lost:
        yield DumpTarget(
            table=draft.table.full_name,
            key=draft.key,
            columns=tuple(lost),
            columns_after=tuple(lost),
            table_after=f"{draft.places.old}.{draft.table.name}",
        )
