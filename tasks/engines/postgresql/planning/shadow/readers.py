"""Views, and other tables with rules, that reach the table and are made again: how, and in which order, to lock them.

Who reads through a view has locked it before what stands below it; and so does who writes to a table with rules.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.model.catalogue import Table
from tasks.model.names import quote
from tasks.model.steps import Lock, LockMode

_NAME = r'"(?:[^"]|"")+"|[^\s".]+'
_READER = re.compile(rf"create (?:view|rule (?:{_NAME}) as\s+on \w+ to) ({_NAME})\.({_NAME})", re.IGNORECASE)
# Whatever reaches another one reaches more than that does. Rules may reach each other: then no order is the right one.
_IN_ORDER = """
with recursive reached (root, relation) as (
    select c.oid, c.oid from unnest(%s::text[]) as wanted (name)
    join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass(wanted.name)
    union
    select reached.root, d.refobjid
    from reached
    join pg_catalog.pg_rewrite r on r.ev_class = reached.relation
    join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass
)
select format('%%I.%%I', n.nspname, c.relname), n.nspname::text, c.relkind = 'v',
       pg_catalog.pg_has_role(c.relowner, 'usage'), pg_catalog.has_schema_privilege(n.oid, 'create')
from (select root, count(*) as reaches from reached group by root) as reader
join pg_catalog.pg_class c on c.oid = reader.root
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
order by reader.reaches desc, n.nspname collate "C", c.relname collate "C"
"""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A relation that reaches the table, by its query or by a rule, with nothing between."""

    name: str
    """Quoted and qualified."""
    schema: str
    view: bool
    owned: bool
    """By the role, or by one that it is a member of."""
    may_create: bool
    """In the schema, which it needs to make a view again."""


def readers(conn: Connection, table: Table) -> tuple[Reader, ...]:
    """Return the readers of a table, each before those that it reads."""
    names = []
    for one in table.dependents:
        mine = one.kind == "rule" and one.name.startswith(f"{table.full_name}.")
        found = _READER.match(one.definition) if one.kind in ("view", "rule") and not (one.through or mine) else None
        if found is not None:
            names.append(".".join(part if part.startswith('"') else quote(part) for part in found.groups()))
    rows = conn.execute(_IN_ORDER, (names,)).fetchall() if names else []
    return tuple(Reader(name=r[0], schema=r[1], view=r[2], owned=r[3], may_create=r[4]) for r in rows)


def locks(conn: Connection, table: Table) -> Iterator[Lock]:
    """Give the locks on the readers of a table, each before those on what it reads."""
    for one in readers(conn, table):
        # It is there already; nothing else locks a view and neither changes it nor reaches what it reads.
        alone = f"alter table {one.name} set schema {quote(one.schema)}"
        if not one.view:
            # To make a rule again needs no right in the schema.
            alone = f"lock table only {one.name} in {LockMode.ACCESS_EXCLUSIVE} mode"
        yield Lock(table=one.name, mode=LockMode.ACCESS_EXCLUSIVE, by=alone)
