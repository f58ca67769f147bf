"""Whether the new shape takes the foreign keys of a table: they are tried on empty tables before anything is done."""

from collections.abc import Iterator, Sequence

from tasks.engines.mysql.names import own, quote, quoted
from tasks.engines.mysql.planning.foreign_keys import ForeignKey, own_indexes
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError


def _refuse_taken(conn: MariaSession, keys: Sequence[ForeignKey], table: Table) -> None:
    """Names of foreign keys are those of the database: another table may have one that is needed meanwhile."""
    names = ", ".join(quoted(one.on(table.name)) for one in keys)
    found = conn.execute(
        "select constraint_name, table_name from information_schema.referential_constraints"
        f" where constraint_schema = database() and constraint_name in ({names}) and table_name <> {quoted(table.name)}"
    ).fetchone()
    if found is not None:
        raise SpecError(
            f"a foreign key of {table.full_name} is to be called {found[0]} meanwhile, and that of {found[1]} is",
            where=table.full_name,
            hint=f"Drop the foreign key of {found[1]}, and add it again by another name.",
        )


def try_on(conn: MariaSession, keys: Sequence[ForeignKey], table: Table, new: Table, tag: str) -> list[str]:
    """Make them on an empty table, to empty parents; return the statements, which the server may refuse.

    The parents are like those of the table: what is tried holds up nobody who writes to them.
    """
    if not conn.dialect.maria:
        raise SpecError(
            "foreign keys are carried over on MariaDB alone",
            where=keys[0].parent,
            hint="Drop them for the migration, and add them again afterwards.",
        )
    _refuse_taken(conn, keys, table)
    parents, made = _parents(keys, tag), list[str]()
    for full, name in parents.items():
        schema, _, bare = full.partition(".")
        made += [f"drop table if exists {quote(name)}",
                 f"create table {quote(name)} like {quote(schema)}.{quote(bare)}"]  # fmt: skip
    added = ", ".join(one.add(one.on(new.name), new.name, parents.get(one.parent, ""), new=True) for one in keys)
    kept = own_indexes(new.name, new, [one.new_columns for one in keys])
    return [*made, *kept, f"alter table {quote(new.name)} {added}"]


def try_yielding(
    keys: Sequence[ForeignKey], table: Table, new: Table, tag: str
) -> Iterator[tuple[ForeignKey, list[str]]]:
    """Yield what makes each of those that are to refuse nothing meanwhile, on both tables, which are empty."""
    parents, old = _parents(keys, tag), own(tag, 0, "like")
    for one in keys:
        if one.writes and one.refuses:
            meanwhile, parent = one.yielding(), parents.get(one.parent, "")
            made = meanwhile.add(meanwhile.on(new.name), new.name, parent, new=True)
            yield (
                one,
                [
                    f"create or replace table {quote(old)} like {quote(table.name)}",
                    f"alter table {quote(new.name)} {made}",
                    f"alter table {quote(old)} {meanwhile.add(meanwhile.on(old), old, parent, new=False)}",
                ],
            )


def forget(keys: Sequence[ForeignKey], probe: str, tag: str) -> list[str]:
    """Return the statements that drop what was tried."""
    names = (probe, own(tag, 0, "like"), *_parents(keys, tag).values())
    return [f"drop table if exists {quote(name)}" for name in names]


def _parents(keys: Sequence[ForeignKey], tag: str) -> dict[str, str]:
    return {
        name: own(tag, number, "parent")
        for number, name in enumerate(dict.fromkeys(one.parent for one in keys if not one.itself))
    }
