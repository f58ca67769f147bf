"""Foreign keys that come, go, or get another name with a new table.

Those that stay are made again at the swap, not valid, and validated afterwards; those that come are, too. Until then no
application meets them, and the table that they refer to does not know the shadow.
"""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.inspect import inspect
from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.restrictions.foreign_keys import orphaned
from tasks.engines.postgresql.planning.restrictions.late import deferral
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.engines.postgresql.planning.shadow.draft import Draft
from tasks.engines.postgresql.planning.shadow.places import printed
from tasks.model.catalogue import Constraint, Table
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX, quote
from tasks.model.operations import CreateConstraint
from tasks.model.plan import Requirement

_COPIES = "_changeover_referred"


def with_keys(change: Change, schema: str) -> Table:
    """Return the table with the foreign keys of the new one, whose twin is in a schema. Raises SpecError.

    Locks: ACCESS SHARE on the tables that new ones refer to.
    """
    table, called = change.table, change.called
    came = [_tried(change, op, where, schema) for op, where in change.keys_come]
    kept = [
        one.model_copy(update={"name": called.get(one.name, one.name)})
        for one in table.constraints
        if one.name not in change.keys_gone
    ]
    inbound = [
        one.model_copy(update={"name": called.get(one.name, one.name)}) if one.table == table.full_name else one
        for one in table.inbound
        if one.table != table.full_name or one.name not in change.keys_gone
    ]
    return table.model_copy(update={"constraints": (*kept, *came), "inbound": tuple(inbound)})


def _tried(change: Change, op: CreateConstraint, where: str, schema: str) -> Constraint:
    """Return what the server makes of a new key: to an empty copy, so that no writer of the other table waits."""
    assert op.references is not None
    columns, referenced = (", ".join(map(quote, names or ())) for names in (op.columns, op.references.columns))
    conn, place = change.rehearsal.conn, f"{where}.references"
    name, own, kept = _referred(change, op.references.table, place)
    copy = f"{quote(_COPIES)}.{quote(name)}"
    with conn.transaction(force_rollback=True):
        conn.execute(f"create schema {quote(_COPIES)}".encode())
        conn.execute(f"create {kept}table {copy} (like {quote(own)}.{quote(name)} including indexes)".encode())
        change.attempt(
            where,
            f"add constraint {quote(op.name)} foreign key ({columns}) references {copy} ({referenced})"
            f" {op.references.actions({})}{deferral(op.deferrable, op.initially_deferred)}",
        )
        found = inspect(conn, [f"{schema}.{change.table.name}"], "pg_catalog").tables[0].constraint(op.name)
    assert found is not None
    there, here = (f" REFERENCES {printed(conn, one, name)}(" for one in (_COPIES, own))
    return found.model_copy(
        update={"definition": found.definition.replace(there, here, 1), "referenced_table": f"{own}.{name}"}
    )


def _referred(change: Change, name: str, where: str) -> tuple[str, str, str]:
    """Return name and schema of the table that a key refers to, and how long it lasts. Raises SpecError."""
    row = change.rehearsal.conn.execute(
        """
        select c.relname::text, n.nspname::text, c.relpersistence::text,
               has_table_privilege(c.oid, 'references') or has_any_column_privilege(c.oid, 'references')
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where c.oid = to_regclass(%s) and c.relkind in ('r', 'p')
        """,
        (".".join(map(quote, name.split("."))),),
    ).fetchone()
    if row is None or row[2] == "t":
        raise SpecError(f"there is no table {name}", where=where, hint="Correct the name, or write its schema, too.")
    if not row[3]:
        raise SpecError(f"the role may not refer to {name}", where=where, hint=f"grant references on {name} to it.")
    if f"{row[1]}.{row[0]}" == change.table.full_name:
        raise SpecError(
            "a table that is made anew cannot get a foreign key to itself",
            where=where,
            hint="Put it into a spec of its own with `strategy: expand_contract`, afterwards.",
        )
    return row[0], row[1], "unlogged " if row[2] == "u" else ""


def requirements(draft: Draft, values: Mapping[str, str]) -> Iterator[Requirement]:
    """Count the rows that a key which comes would refuse, before the run and before the swap, and of one that goes."""
    before = {one.name: one for one in _keys(draft.table)}
    after = {draft.change.called.get(name, name) for name in before}
    for one in _keys(draft.new):
        if one.name not in after:
            yield from _coming(draft, one, values)
    for name, one in before.items():
        if name in draft.change.keys_gone and one.validated:
            parent = draft.former if one.referenced_table == draft.table.full_name else None
            yield Requirement(
                name=f"{draft.table.full_name} refers by {name}",
                table=draft.table.full_name,
                kind="references",
                gate="before_rollback",
                violations=f"select 1 from {draft.former} as child where {_orphaned(one, parent)}",
            )


def _coming(draft: Draft, one: Constraint, values: Mapping[str, str]) -> Iterator[Requirement]:
    name = f"{draft.table.full_name} ({', '.join(one.columns)}) refers to {one.referenced_table} by {one.name}"
    yield Requirement(
        name=name,
        table=draft.table.full_name,
        kind="references",
        constraint=one.name,
        violations=f"select {', '.join(f'child.{quote(c)}' for c in draft.row_key.new_columns)}"
        f" from {draft.shadow} as child where {_orphaned(one)}",
        reads_new=True,
    )
    if not {*one.columns} <= values.keys():
        return
    table, keys = quote(draft.table.name), [quote(f"{OWN_PREFIX}{number}") for number in range(len(draft.key))]
    shown = [f"{table}.{quote(c)} as {k}" for c, k in zip(draft.key, keys, strict=True)]
    shown += [f"{values[column]} as {quote(column)}" for column in one.columns]
    broken = (
        f"select {', '.join(keys)} from (select {', '.join(shown)} from {draft.places.real} as {table}) as child"
        f" where {_orphaned(one)}"
    )
    yield Requirement(
        name=name,
        table=draft.table.full_name,
        kind="references",
        gate="before_run",
        violations=broken,
        fix=f"delete from {draft.places.real} where ({', '.join(map(quote, draft.key))}) in (\n{broken}\n)",
    )


def _orphaned(one: Constraint, parent: str | None = None) -> str:
    pairs = dict(zip(one.columns, one.referenced_columns, strict=True))
    return orphaned(parent or quote_qualified(one.referenced_table or ""), pairs, full=" MATCH FULL" in one.definition)


def _keys(table: Table) -> list[Constraint]:
    return [one for one in table.constraints if one.kind == "foreign key"]
