"""From a spec to a plan on MariaDB: in place, or by a shadow table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pymysql

from tasks.engines.mysql.inspect import estimate, inspect
from tasks.engines.mysql.names import quote
from tasks.engines.mysql.planning import inbound, others, parity, users_triggers
from tasks.engines.mysql.planning.assemble import Attached, Names, is_swapped, made_since, steps
from tasks.engines.mysql.planning.carried import account_for
from tasks.engines.mysql.planning.change import Change, change_of, filled
from tasks.engines.mysql.planning.definition import by_definition
from tasks.engines.mysql.planning.foreign_keys import ForeignKey, carried
from tasks.engines.mysql.planning.foreign_keys_tried import forget, try_on, try_yielding
from tasks.engines.mysql.planning.in_place import plan_in_place
from tasks.engines.mysql.planning.mapping import Mapping, mapping_of
from tasks.engines.mysql.planning.probe import probe
from tasks.engines.mysql.planning.refuse import refuse_kind
from tasks.engines.mysql.planning.transfer import plan_transfer
from tasks.engines.mysql.planning.transfer_documents import plan_documents
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import tag
from tasks.engines.mysql.transient import code_of
from tasks.engines.refuse_documents import refuse_documents
from tasks.model.catalogue import Catalogue, Table
from tasks.model.document import show
from tasks.model.errors import SpecError
from tasks.model.operations import RebuildTable
from tasks.model.operations.conflicts import conflicts
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Risk

_CHEAP = ("instant", "inplace")


def plan(conn: MariaSession, spec: MigrationSpec) -> Plan:
    """Draw up a plan. The new shape is tried on an empty table of ours, which is dropped again.

    Raises SpecError for whatever would lose something.
    """
    refuse_documents(spec)
    if spec.strategy == "cross_database":
        into_table = spec.transfer is not None and spec.transfer.to.table is not None
        return (plan_transfer if into_table else plan_documents)(conn, spec)
    if spec.strategy not in ("shadow_table", "expand_contract"):
        raise SpecError(
            f"{spec.strategy} is not there on MariaDB", where="strategy", hint="Write `strategy: shadow_table`."
        )
    for one in conflicts(spec.operations):
        raise SpecError(f"{one.reason}, on MariaDB", where=show(one.at), hint=one.hint)
    named = {name for operation in spec.operations for name in operation.tables}
    catalogue = inspect(conn, sorted(named))
    if len(catalogue.tables) != 1:
        raise SpecError(
            "a migration on MariaDB changes one table", where="operations", hint="Write a spec for each table."
        )
    if spec.strategy == "expand_contract":
        return plan_in_place(conn, spec, catalogue)
    table = catalogue.tables[0]
    refuse_kind(table)
    change = by_definition(spec.operations, table) or change_of(spec.operations, table, conn.dialect)
    # First of all they tell a table that is under way.
    theirs = users_triggers.triggers_of(conn, table, tag(spec.migration))
    with _tried(conn, change, tag(spec.migration)) as (new, cheap):
        account_for(change, new)
        others.refuse_mentioned(conn, table, change.leaving)
        mapping = mapping_of(change, new)
        keys = carried(change, new)
        referring = inbound.inbound_of(conn, change, new, tag(spec.migration))
        _try_inbound(conn, table, new, referring, tag(spec.migration))
        names = Names.of(tag(spec.migration), 1, table.name, foreign_keys=bool(keys))
        users_triggers.try_triggers(conn, table, theirs, new.name, names.sides)
        users_triggers.try_definers(conn, table, theirs, tag(spec.migration))
        if keys:
            _try_foreign_keys(conn, change, new, keys, tag(spec.migration))
    size, attached = estimate(conn, table), Attached(keys=keys, referring=referring, theirs=theirs)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy=spec.strategy,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=conn.database,
        steps=tuple(steps(spec.migration, change, mapping, names, attached)),
        requirements=(
            *_requirements(spec.migration, change, mapping, names, referring),
            *inbound.requirements(referring, names.old, spec.migration),
            *users_triggers.requirements(theirs, table.full_name, names.old, names.sides, is_swapped(names)),
            *others.requirements(conn, table, new, leaving=change.leaving),
            *_comes_back(conn, change, mapping, quote(names.table)),
        ),
        estimates=(size,),
        risk=Risk.HIGH if change.dropped or change.up else Risk.MEDIUM,
        risk_reasons=tuple(_reasons(change, mapping)),
        findings=tuple(_findings(change, table, cheap, in_place=_in_place(conn, spec, catalogue))),
    )


@contextmanager
def _tried(conn: MariaSession, change: Change, tag_: str) -> Iterator[tuple[Table, str]]:
    """Make the new shape, empty, and look at it; say with which cheaper algorithm the server would do it in place."""
    with probe(conn, tag_) as name:
        cheap = ""
        for statement in change.build(name):
            if statement.startswith("alter table "):
                cheap = next((how for how in _CHEAP if _takes(conn, f"{statement}, algorithm={how}, lock=none")), "")
            if not cheap:
                _make(conn, statement, change, name)
        _refuse_rows(conn, change, name)
        yield inspect(conn, [name]).tables[0], cheap


def _try_foreign_keys(conn: MariaSession, change: Change, new: Table, keys: Sequence[ForeignKey], tag_: str) -> None:
    """Let the new shape have the foreign keys of the table. Raises SpecError if the server refuses, or adds to it."""
    for statement in forget(keys, "", tag_)[1:]:
        conn.execute(statement)
    try:
        for statement in try_on(conn, keys, change.table, new, tag_):
            _make(conn, statement, change, new.name)
        made = {index.name for index in inspect(conn, [new.name]).tables[0].indexes}
        for key, statements in try_yielding(keys, change.table, new, tag_):
            if not all(_takes(conn, statement) for statement in statements):
                raise _unyielding(change.table, key)
    finally:
        if not conn.closed:
            for statement in forget(keys, new.name, tag_):
                conn.execute(statement)
    if made != {index.name for index in new.indexes}:
        raise SpecError(
            f"the new shape has no index for each foreign key of {change.table.full_name}",
            where=change.table.full_name,
            hint="Leave it the index, or give it another that begins with the columns of the foreign key.",
        )


def _try_inbound(conn: MariaSession, table: Table, new: Table, referring: Sequence[inbound.Inbound], tag_: str) -> None:
    """Let the foreign keys to the table refer to the new shape. Raises SpecError if the server refuses."""
    try:
        for key, statements in inbound.try_inbound(referring, new, tag_):
            if not all(_takes(conn, statement) for statement in statements):
                raise inbound.refused(table, key)
    finally:
        if referring and not conn.closed:
            conn.execute(inbound.forget_inbound(tag_))


def _unyielding(table: Table, key: ForeignKey) -> SpecError:
    return SpecError(
        f"{table.full_name} cannot be made anew with its foreign key {key.name}: where rows may be stale it has to"
        " refuse nothing, and the server does not let it cascade there, as with a column from which another is made",
        where=table.full_name,
        hint="Drop the foreign key for the migration, and add it again afterwards.",
    )


def _takes(conn: MariaSession, statement: str) -> bool:
    try:
        conn.execute(statement)
    except pymysql.err.MySQLError as error:
        if conn.closed:
            raise
        return code_of(error) is None
    return True


def _refuse_rows(conn: MariaSession, change: Change, name: str) -> None:
    if conn.execute(f"select 1 from {quote(name)} limit 1").fetchone() is not None:
        raise filled(change.table.full_name)


def _make(conn: MariaSession, statement: str, change: Change, own_name: str) -> None:
    try:
        conn.execute(statement)
    except pymysql.err.MySQLError as error:
        if conn.closed:
            raise
        said = " ".join(map(str, error.args)).replace(own_name, change.table.name)
        raise SpecError(
            f"the server refuses the new shape: {said}",
            where=change.table.full_name,
            hint="Correct the types, defaults and expressions of the spec.",
        ) from None


def _requirements(
    migration: str, change: Change, mapping: Mapping, names: Names, referring: Sequence[inbound.Inbound]
) -> Iterator[Requirement]:
    full, old = mapping.old.full_name, quote(names.table)
    fresh = {name for name, _ in change.unique}
    keys = {
        name: tuple(change.renamed.get(column, column) for column in columns)
        for name, columns in change.unique
        if all(any(f.same == column for f in mapping.forward) and column not in change.up for column in columns)
    }
    for name, columns in {**dict(parity.collisions(mapping)), **keys}.items():
        equal = parity.duplicates(mapping, old, columns)
        yield Requirement(
            name=f"no duplicates under the {'new unique key' if name in fresh else 'unique key'} {name}",
            table=full,
            kind="unique",
            violations=equal.groups,
            rows=equal.rows,
            fix=equal.fix,
            gate="before_run",
        )
    for one in parity.unfit(mapping, old):
        yield Requirement(
            name=one.name, table=full, kind="check", violations=one.rows, rows=one.rows, fix=one.fix, gate="before_run"
        )
    yield Requirement(
        name=f"every row of {full} is in the new table, and no other",
        table=full,
        kind="parity",
        violations=parity.before_swap(mapping, old, quote(names.new)),
        reads_new=True,
    )
    yield Requirement(
        name=f"the old table has kept step with {full}",
        table=full,
        kind="parity",
        gate="after_swap",
        violations=parity.kept_step(mapping, quote(names.old), quote(names.table), migration, as_rounded=True),
        reads_new=True,
    )
    yield Requirement(
        # TRUNCATE fires no trigger on MariaDB.
        name=f"the old table has kept step with {full}, by more than triggers can see",
        table=full,
        kind="parity",
        gate="before_rollback",
        violations=parity.kept_step(mapping, quote(names.old), quote(names.table), migration, as_rounded=False),
        reads_new=True,
    )
    yield Requirement(
        name=f"no trigger, no column and no foreign key on {full} that a rollback would drop",
        table=full,
        kind="structure",
        gate="before_rollback",
        violations=f"{made_since(names, mapping.new, names.table, referring)} where exists ({is_swapped(names)})",
        reads_new=True,
    )


def _comes_back(conn: MariaSession, change: Change, mapping: Mapping, old: str) -> Iterator[Requirement]:
    query = parity.comes_back(mapping, old, change.down.keys() - change.lossy)
    # What `down` reads of columns that are generated is known when they are there.
    if not query or not _takes(conn, f"explain {query}"):
        return
    for gate in ("before_run", "before_swap"):
        yield Requirement.model_validate(
            {
                "name": f"what {mapping.old.full_name} has comes back by down",
                "table": mapping.old.full_name,
                "kind": "parity",
                "violations": query,
                "fix": f"select * from {old} where ({', '.join(map(quote, mapping.key))}) in ({query})",
                "gate": gate,
            }
        )


def _reasons(change: Change, mapping: Mapping) -> Iterator[str]:
    yield f"{mapping.old.full_name} is made anew: twice its size is needed on disk, and in the binary log"
    for column in sorted(change.dropped):
        yield f"the column {column} is gone after contract"


def _in_place(conn: MariaSession, spec: MigrationSpec, catalogue: Catalogue) -> bool:
    """Whether the other strategy would do the same at once."""
    if any(isinstance(operation, RebuildTable) for operation in spec.operations):
        return False
    try:
        plan_in_place(conn, spec.model_copy(update={"strategy": "expand_contract"}), catalogue)
    except SpecError:
        return False
    return True


def _findings(change: Change, table: Table, cheap: str, *, in_place: bool) -> Iterator[Finding]:
    if in_place:
        yield Finding(
            rule="MYS-05",
            severity="note",
            message="the server can do this at once, in the table itself, and back",
            where=table.full_name,
            hint="Leave `strategy: shadow_table` out: no row is copied then.",
        )
    elif cheap and not change.up:
        yield Finding(
            rule="MYS-01",
            severity="note",
            message=f"the server can do this {cheap.upper()}, without a shadow table: alter table {table.name}"
            f" {', '.join(change.clauses)}, algorithm={cheap}, lock=none",
            where=table.full_name,
            hint="Use it where nothing has to be undone; set lock_wait_timeout to 1 first.",
        )
    yield Finding(
        rule="MYS-02",
        severity="note",
        message="contract drops the old table without a dump",
        where=table.full_name,
        hint="Keep a backup that is newer than the swap.",
    )
