"""From a finished draft to the list of steps, in the order of the phases."""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.checks import standing
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.lock_order import unique
from tasks.engines.postgresql.planning.shadow import build, kept_step, readers
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.exchange import Exchange, neighbours, referred, validations
from tasks.engines.postgresql.planning.shadow.followed import UNSEEN, rejected_since
from tasks.engines.postgresql.planning.shadow.rehearse import alone
from tasks.model.catalogue import Index, Table
from tasks.model.names import quote
from tasks.model.plan import Requirement
from tasks.model.steps import (
    ConcurrentIndex,
    Copy,
    Lock,
    LockMode,
    Notes,
    Phase,
    Reconcile,
    ShortTransaction,
    Step,
    Validation,
)


def steps(draft: Draft) -> tuple[Step, ...]:
    """Return all steps."""
    return (
        _expand(draft),
        _dual_write(draft),
        _copy(draft),
        *_indexes(draft),
        _reconcile(draft),
        *_constrain(draft),
        *_swap(draft),
        *_contract(draft),
    )


def _expand(draft: Draft) -> Step:
    places, table = draft.places, draft.new
    forward = [
        f"create schema {quote(schema)} authorization {quote(table.owner)}" for schema in (places.new, places.old)
    ]
    forward += build.create_table(table, places.new, draft.new_parts, draft.options)
    for index in build.at_once(table, draft.row_key.new_index):
        forward.append(build.create_index(draft.conn, table, index, places.new))
        forward += build.finish_index(table, index, places.new, attach=False)
    forward += build.statistics(draft.conn, table, places.new)
    forward += [*draft.up.create_tables(draft.table, draft.new), *draft.down.create_tables(draft.new, draft.table)]
    forward += [*draft.up.create_functions(), *draft.down.create_functions(), *kept_step.create(draft)]
    inverse = [*kept_step.drop(draft), *draft.up.drop_functions(), *draft.down.drop_functions()]
    inverse += [f"drop table if exists {name}" for name in (draft.shadow, *_told(draft))]
    inverse += [f"drop schema if exists {quote(schema)}" for schema in (places.new, places.old)]
    return Step(
        key=f"expand/{table.full_name}/shadow",
        phase=Phase.EXPAND,
        title=f"make an empty shadow of {table.full_name}",
        undo="drop it",
        action=ShortTransaction(forward=tuple(forward), inverse=tuple(inverse)),
    )


def _told(draft: Draft) -> tuple[str, ...]:
    """The tables beside the two."""
    return (*draft.up.tables, *draft.down.tables)


def _dual_write(draft: Draft) -> Step:
    return Step(
        key=f"dual_write/{draft.table.full_name}/triggers",
        phase=Phase.DUAL_WRITE,
        title=f"write to the shadow what is written to {draft.table.full_name}, with triggers",
        undo="drop the triggers",
        action=ShortTransaction(
            locks=(Lock(table=draft.places.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),),
            forward=draft.up.create_triggers(),
            inverse=draft.up.drop_triggers(),
            inverse_locks=(Lock(table=draft.places.real, mode=LockMode.ACCESS_EXCLUSIVE),),
        ),
    )


def _action(draft: Draft) -> Copy:
    return Copy(
        table=draft.places.real,
        key=draft.key,
        key_types=draft.types(draft.table),
        alias=draft.table.name,
        target=draft.shadow,
        target_key=draft.row_key.new_columns,
        arbiter=draft.row_key.new_unique if len(draft.row_key.new_unique) < len(draft.key) else (),
        assignments=draft.forth,
        drain=draft.up.drain,
        after=draft.up.whole,
    )


def _copy(draft: Draft) -> Step:
    return Step(
        key=f"backfill/{draft.table.full_name}/rows",
        phase=Phase.BACKFILL,
        title=f"copy the rows of {draft.table.full_name} into the shadow",
        action=_in_order(draft),
    )


def _in_order(draft: Draft) -> Copy:
    """Walk along other columns: whoever changes them writes to the shadow, too, so no row is missed."""
    action, columns = _action(draft), draft.change.walk(draft.key)
    types = {column.name: column.type for column in draft.table.columns}
    return action.model_copy(update={"key": columns, "key_types": tuple(types[column] for column in columns)})


def _later(draft: Draft) -> list[Index]:
    """The indexes that are built when the rows are there."""
    early = {index.name for index in build.at_once(draft.new, draft.row_key.new_index)}
    return [index for index in draft.new.indexes if index.name not in early]


def _indexes(draft: Draft) -> Iterator[Step]:
    for index in _later(draft):
        yield Step(
            key=f"index/{draft.places.new}.{draft.table.name}/index {index.name}",
            phase=Phase.INDEX,
            title=f"build {index.name} on the shadow of {draft.table.full_name}",
            action=ConcurrentIndex(
                table=draft.shadow,
                schema_name=draft.places.new,
                name=index.name,
                create=build.create_index(draft.conn, draft.new, index, draft.places.new, concurrently=True),
                goes_with_table=True,
                drain=draft.up.drain,
            ),
        )


def _reconcile(draft: Draft) -> Step:
    return Step(
        key=f"reconcile/{draft.table.full_name}/rows",
        phase=Phase.RECONCILE,
        title=f"compare every row of {draft.table.full_name} with its shadow, and carry over what differs",
        action=Reconcile(
            copy_of=_action(draft),
            notes=Notes(table=draft.up.notes, columns=draft.key, types=draft.types(draft.table)),
            drain=draft.up.drain,
            aligned=draft.aligned,
        ),
    )


def _constrain(draft: Draft) -> Iterator[Step]:
    found = [s for index in _later(draft) for s in build.finish_index(draft.new, index, draft.places.new, attach=True)]
    if found:
        yield Step(
            key=f"constrain/{draft.table.full_name}/keys",
            phase=Phase.CONSTRAIN,
            title=f"turn the indexes of the shadow of {draft.table.full_name} into what they are on the table",
            action=ShortTransaction(
                locks=(Lock(table=draft.shadow, mode=LockMode.ACCESS_EXCLUSIVE),),
                inverse_locks=(),
                forward=tuple(found),
            ),
        )


def _swap(draft: Draft) -> Iterator[Step]:
    places, table, new = draft.places, draft.table, draft.new
    for child, name, validate in validations(table, places):
        yield Step(
            key=f"swap/{child}/restore {name}",
            phase=Phase.SWAP,
            title=f"remember that {name} of {child} was valid",
            undo="validate it again while applications write",
            action=Validation(table=quote_qualified(child), inverse=(validate,)),
        )
    parts, new_parts = ([part.name for part in some] for some in (draft.parts, draft.new_parts))
    there = Exchange(
        conn=draft.conn,
        places=places,
        leaving=table,
        coming=new,
        away=places.old,
        waits=places.new,
        leaving_parts=parts,
        coming_parts=new_parts,
        fresh=True,
    )
    again = Exchange(
        conn=draft.conn,
        places=places,
        leaving=new,
        coming=table,
        away=places.new,
        waits=places.old,
        leaving_parts=new_parts,
        coming_parts=parts,
        fresh=False,
    )
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"put the shadow in the place of {table.full_name}",
        undo="put the old table back, with what applications wrote since",
        action=ShortTransaction(
            locks=_locks(draft, draft.shadow, table, new),
            inverse_locks=_locks(draft, draft.former, new, table),
            before=draft.up.drain,
            inverse_before=draft.down.drain,
            # Reconciling comes after every copy, and before every swap.
            written=f"select xmin from changeover.steps where migration = {literal(draft.spec.migration)}"
            f" and key = {literal(_reconcile(draft).key)} union all select xmin from {draft.up.carried}",
            inverse_written=f"select xmin from {draft.down.carried}",
            forward=(
                draft.up.finish(),
                *draft.up.drop_triggers(),
                *there.statements(),
                *draft.down.create_triggers(),
            ),
            inverse=(draft.down.finish(), *draft.down.drop_triggers(), *again.statements()),
            guard=True,
            given=alone(table),
            inverse_given=alone(new),
            result=alone(new),
            inverse_result=alone(table),
        ),
    )
    for child, name, validate in validations(new, places):
        yield Step(
            key=f"swap/{child}/validate {name}",
            phase=Phase.SWAP,
            title=f"validate {name} of {child} while applications write",
            action=Validation(table=quote_qualified(child), forward=(validate,)),
        )


def _locks(draft: Draft, other: str, leaving: Table, coming: Table) -> tuple[Lock, ...]:
    """Views before the tables below them, and the shadow last, as triggers do: nobody comes to it without the table."""
    real, last = (Lock(table=name, mode=LockMode.ACCESS_EXCLUSIVE) for name in (draft.places.real, other))
    return (*readers.locks(draft.conn, leaving), *unique([real, *neighbours(leaving), *referred(coming)]), last)


def _contract(draft: Draft) -> Iterator[Step]:
    places, name = draft.places, draft.table.full_name
    exclusive = LockMode.ACCESS_EXCLUSIVE
    yield Step(
        key=f"contract/{name}/triggers",
        phase=Phase.CONTRACT,
        title=f"stop writing to the old {name}",
        undo="nothing: this is the point of no return",
        action=ShortTransaction(
            locks=(Lock(table=places.real, mode=exclusive),),
            forward=(
                *draft.down.drop_triggers(),
                *draft.down.drop_functions(),
                *draft.up.drop_functions(),
                *kept_step.drop(draft),
            ),
        ),
    )
    yield Step(
        key=f"contract/{name}/table",
        phase=Phase.CONTRACT,
        title=f"drop the old {name}",
        undo="nothing: this is the point of no return",
        action=ShortTransaction(
            locks=(Lock(table=draft.former, mode=exclusive),), forward=(f"drop table {draft.former}",)
        ),
    )
    yield Step(
        key=f"contract/{name}/schemas",
        phase=Phase.CONTRACT,
        title="drop the schemas that the two tables stood in",
        undo="nothing: this is the point of no return",
        action=ShortTransaction(
            forward=(
                f"drop table {', '.join(_told(draft))}",
                f"drop schema {quote(places.new)}",
                f"drop schema {quote(places.old)}",
            )
        ),
    )


def requirements(draft: Draft, found: Sequence[Step]) -> Iterator[Requirement]:
    """What has to hold before the swap and after it, as queries that the gates evaluate."""
    name, migration = draft.table.full_name, literal(draft.spec.migration)
    compared = next(step.key for step in found if step.phase is Phase.RECONCILE)
    yield Requirement(
        name=f"every row of {name} was compared with its shadow",
        table=name,
        kind="structure",
        violations=f"select 'not compared' as problem where not exists (select from changeover.steps"
        f" where migration = {migration} and key = {literal(compared)} and state = 'done')",
        reads_new=True,
    )
    yield Requirement(
        name=f"every write to {name} has reached the shadow, or can",
        table=name,
        kind="structure",
        violations=f"select 'writes that the shadow refuses: ' || count(*) as problem from {draft.up.notes}"
        f" where _changeover_failed is not null having count(*) > 0{_unseen(draft)}",
        reads_new=True,
    )
    for gate in ("before_swap", "after_swap"):
        yield _whole(draft, gate)
    yield Requirement(
        name=f"every row of {name} has a place in the old table, which another row may have by now",
        table=name,
        kind="unique",
        gate="before_rollback",
        violations=draft.down.without_a_place,
    )
    if draft.new_parts:
        # Of the way back only: partitions that come do not keep the old table from being dropped.
        yield Requirement(
            name=f"every write to the partitions of {name} has been seen",
            table=name,
            kind="standing",
            gate="after_swap",
            violations=draft.down.gaps,
            reads_new=True,
        )
    real = draft.places.real
    regclass = f"to_regclass({literal(real)})"
    numbered = [one.column for one in draft.new.sequences]
    if draft.table.sequences and numbered:
        yield standing.sequences_ahead(draft.table)
        yield standing.sequences_still_ahead(draft.spec.migration, draft.table, numbered, regclass, real)
    columns = [column.name for column in draft.new.columns]
    yield standing.statistics_there(draft.table, columns, regclass, real)


def _unseen(draft: Draft) -> str:
    """What was emptied of the partitions of the table by somebody who did not see all of its copy, or may be gone."""
    if not draft.parts:
        return ""
    return (
        f" union all select distinct case r.sqlstate when '{UNSEEN}'"
        " then 'a partition that the plan does not know was written to: roll back, and run again'"
        " else 'a partition was emptied by who did not see all of its copy: roll back, and run again' end"
        + rejected_since(draft.spec.migration, "up")
    )


def _whole(draft: Draft, gate: str) -> Requirement:
    """Dual write is on, and nothing that was valid is not."""
    real = literal(draft.places.real)
    unvalidated = [c.name for c in draft.new.constraints if not c.validated]
    known = ", ".join(literal(name) for name in ["", *unvalidated])
    mirror = draft.up if gate == "before_swap" else draft.down
    triggers = ", ".join(literal(name) for name in mirror.triggers)
    gaps = f"\nunion all\n{mirror.gaps}" if mirror.parts and gate == "before_swap" else ""
    return Requirement(
        name=f"{draft.table.full_name} is whole, and dual write is on",
        table=draft.table.full_name,
        kind="structure",
        gate="before_swap" if gate == "before_swap" else "after_swap",
        violations=f"""\
select conname::text as problem from pg_catalog.pg_constraint
where conrelid = to_regclass({real}) and not convalidated and conname::text not in ({known})
union all
select c.relname::text from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
where i.indrelid = to_regclass({real}) and not i.indisvalid
union all
select 'dual write' where 2 <> (
  select count(*) from pg_catalog.pg_trigger
  where tgrelid = to_regclass({real}) and tgname in ({triggers}) and tgenabled = 'A'){gaps}""",
        reads_new=True,
    )
