"""The partitions of a table and of its shadow: what they take, what makes them, and what cannot be carried over.

Nothing is attached to a partition that does not come from its table: it is made with the table, and goes with it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations.partition_by import Partition as Wanted
from tasks.model.operations.partition_by import PartitionBy, Value

NOT_VALID_KEYS = 180000
"""From this version on, a partitioned table can have a foreign key that is not validated yet."""
IDENTITIES = 170000
"""From this version on, it can have an identity."""
_WHOLE_ROW = r"\bnew\s*:?=|\binto\s+(strict\s+)?new\b|\bexecute\b"


@dataclass(frozen=True, kw_only=True)
class Partition:
    """A partition, in the schema of its table."""

    name: str
    bound: str
    """As in CREATE TABLE ... PARTITION OF."""


def partitioned(table: Table) -> bool:
    """Tell whether a table has its rows in partitions."""
    return table.kind == "partitioned table"


def parts_of(conn: Connection, table: Table) -> tuple[Partition, ...]:
    """Return the partitions that a table has, and those that they have."""
    rows = conn.execute(
        """
        select c.relname::text, pg_get_expr(c.relpartbound, c.oid)
        from pg_catalog.pg_partition_tree(%s::regclass) tree join pg_catalog.pg_class c on c.oid = tree.relid
        where tree.level > 0 order by c.relname
        """,
        (quote_qualified(table.full_name),),
    ).fetchall()
    return tuple(Partition(name=row[0], bound=row[1]) for row in rows)


def told_by(conn: Connection, table: Table) -> tuple[str, ...]:
    """Return the columns that tell partitions of a table, on any level; none of one that has none.

    Also those within expressions.
    """
    rows = conn.execute(
        """
        select distinct a.attname::text from pg_catalog.pg_depend d
        join pg_catalog.pg_partitioned_table p on p.partrelid = d.refobjid
        join pg_catalog.pg_attribute a on a.attrelid = d.objid and a.attnum = d.objsubid
        where d.refobjid in (select relid from pg_catalog.pg_partition_tree(%(table)s::regclass))
          and d.objid = d.refobjid and d.refobjsubid = 0 and d.deptype = 'i'
          and d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = d.classid
        order by 1
        """,
        {"table": quote_qualified(table.full_name)},
    ).fetchall()
    return tuple(row[0] for row in rows)


def parts_wanted(wanted: PartitionBy) -> tuple[Partition, ...]:
    """Return the partitions that a spec asks for."""
    return tuple(
        Partition(name=one.name, bound=_bound(wanted, one, number)) for number, one in enumerate(wanted.partitions)
    )


def _bound(wanted: PartitionBy, one: Wanted, number: int) -> str:
    if one.default:
        return "default"
    if wanted.strategy == "hash":
        return f"for values with (modulus {len(wanted.partitions)}, remainder {number})"
    if one.values is not None:
        return f"for values in ({', '.join(map(_value, one.values))})"
    low, high = (
        ", ".join(map(_value, bound)) if bound is not None else ", ".join([word] * len(wanted.columns))
        for bound, word in ((one.from_, "minvalue"), (one.to, "maxvalue"))
    )
    return f"for values from ({low}) to ({high})"


def _value(value: Value) -> str:
    return literal(str(value))


def key_of(wanted: PartitionBy) -> str:
    """Return the clause after PARTITION BY."""
    return f"{wanted.strategy} ({', '.join(map(quote, wanted.columns))})"


def create_partition(table: Table, part: Partition, schema: str, options: Sequence[str]) -> Iterator[str]:
    """Yield the statements that make a partition of a table that stands empty in a schema, for the owner alone.

    Who may read the table reads its rows through it; a right on a partition would go around its policies.
    """
    name = f"{quote(schema)}.{quote(part.name)}"
    given = f" with ({', '.join(options)})" if options else ""
    space = f" tablespace {quote(table.tablespace)}" if table.tablespace else ""
    yield f"create table {name} partition of {quote(schema)}.{quote(table.name)} {part.bound}{given}{space}"
    yield f"alter table {name} owner to {quote(table.owner)}"
    yield f"revoke all on table {name} from public"
    if table.replica_identity in ("full", "nothing"):
        yield f"alter table {name} replica identity {table.replica_identity}"
    for column in table.columns:
        if column.statistics_target is not None:
            yield f"alter table {name} alter column {quote(column.name)} set statistics {column.statistics_target}"


def move(names: Sequence[str], before: str, after: str) -> Iterator[str]:
    """Yield what takes partitions to another schema."""
    for name in names:
        yield f"alter table {quote(before)}.{quote(name)} set schema {quote(after)}"


def conditions(conn: Connection, parts: Sequence[Partition], schema: str) -> tuple[str, ...]:
    """Return, as the server prints it, which rows each partition takes; none where no row can be without one."""
    rows = conn.execute(
        """
        select pg_get_partition_constraintdef(c.oid), pg_get_expr(c.relpartbound, c.oid)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %s and c.relname = any (%s) order by c.relname
        """,
        (schema, [part.name for part in parts]),
    ).fetchall()
    if any(bound == "DEFAULT" or "WITH (modulus" in bound for _, bound in rows):
        return ()
    return tuple(row[0] for row in rows)


def refuse_names_in_use(conn: Connection, table: Table, schema: str) -> None:
    """Refuse new indexes, and partitions with theirs, whose names others have in the schema of the table.

    Raises PreflightError. What leaves the schema at the swap with the table stands in nobody's way.
    """
    rows = conn.execute(
        """
        with leaving as (
          select %(table)s::regclass as oid
          union select relid from pg_catalog.pg_partition_tree(%(table)s::regclass)
        )
        select c.relname::text from pg_catalog.pg_class c
        join pg_catalog.pg_class other on other.relname = c.relname
        where c.relnamespace = %(made)s::regnamespace and other.relnamespace = %(real)s::regnamespace
          and other.oid not in (select oid from leaving)
          and not exists (select from pg_catalog.pg_index i
                          where i.indexrelid = other.oid and i.indrelid in (select oid from leaving))
        order by 1
        """,
        {"table": quote_qualified(table.full_name), "made": quote(schema), "real": quote(table.schema_name)},
    ).fetchall()
    if rows:
        raise PreflightError(
            f"the name {rows[0][0]} is in use in the schema {table.schema_name}",
            where=table.full_name,
            hint="Give what is new another name: indexes and keys of a partition are called after it.",
        )


def refuse_rights(conn: Connection, parts: Sequence[Partition], schema: str) -> None:
    """Refuse partitions that default privileges have given to others. Raises PreflightError."""
    row = conn.execute(
        """
        select c.relname, pg_get_userbyid(item.grantee) from pg_catalog.pg_class c
        join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        cross join lateral aclexplode(c.relacl) as item
        where n.nspname = %s and c.relname = any (%s) and item.grantee <> c.relowner order by 1, 2 limit 1
        """,
        (schema, [part.name for part in parts]),
    ).fetchone()
    if row:
        raise PreflightError(
            f"default privileges would give the partition {row[0]} to {row[1]}, around the rules of its table",
            where=row[0],
            hint="Take them back for the time of the migration: alter default privileges revoke all on tables.",
        )


def of_table(conn: Connection, table: Table) -> Iterator[tuple[str, str]]:
    """Yield what partitions have of their own, which would not arrive, each with the remedy."""
    rows = conn.execute(
        """
        select c.relname::text, own.what from pg_catalog.pg_partition_tree(%(table)s::regclass) tree
        join pg_catalog.pg_class c on c.oid = tree.relid
        join pg_catalog.pg_class p on p.oid = %(table)s::regclass
        cross join lateral (
          select 'its rows elsewhere' as what where c.relkind = 'f'
          union select 'another schema' where c.relnamespace <> p.relnamespace
          union select 'no durable rows' where c.relpersistence <> 'p'
          union select 'row security' where c.relrowsecurity
          union select 'storage parameters' where c.reloptions is not null
          union select 'the owner ' || pg_get_userbyid(c.relowner) where c.relowner <> p.relowner
          union select 'a tablespace of its own' where c.reltablespace <> p.reltablespace
          union select 'the comment ' || d.description from pg_catalog.pg_description d
            where d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = c.oid
          union select 'the default ' || pg_get_expr(d.adbin, c.oid) from pg_catalog.pg_attrdef d
            join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = d.adnum
            left join pg_catalog.pg_attribute b on b.attrelid = p.oid and b.attname = a.attname
            left join pg_catalog.pg_attrdef e on e.adrelid = p.oid and e.adnum = b.attnum
            where d.adrelid = c.oid
              and pg_get_expr(d.adbin, c.oid) is distinct from pg_get_expr(e.adbin, p.oid)
          union select 'the index ' || x.indexrelid::regclass from pg_catalog.pg_index x
            where x.indrelid = c.oid and not exists (select from pg_catalog.pg_inherits where inhrelid = x.indexrelid)
          union select 'the trigger ' || t.tgname from pg_catalog.pg_trigger t
            where t.tgrelid = c.oid and not t.tgisinternal and t.tgparentid = 0
          union select 'the constraint ' || k.conname from pg_catalog.pg_constraint k
            where k.conrelid = c.oid and k.conparentid = 0 and k.coninhcount = 0
              and k.contype in ('c', 'f', 'p', 'u', 'x')
          union select 'the foreign key ' || k.conname || ' that points to it' from pg_catalog.pg_constraint k
            where k.confrelid = c.oid and k.conparentid = 0
          union select 'the publication ' || b.pubname from pg_catalog.pg_publication_rel r
            join pg_catalog.pg_publication b on b.oid = r.prpubid where r.prrelid = c.oid
          union select 'the statistics ' || s.stxname from pg_catalog.pg_statistic_ext s where s.stxrelid = c.oid
          union select 'the view or rule ' || r.ev_class::regclass from pg_catalog.pg_depend d
            join pg_catalog.pg_rewrite r on r.oid = d.objid
            where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.refobjid = c.oid
        ) as own
        where tree.level > 0 order by 1, 2
        """,
        {"table": quote_qualified(table.full_name)},
    ).fetchall()
    for name, what in rows:
        yield f"the partition {name} has {what}", "Take that off the partition for the time of the migration."


def of_change(conn: Connection, table: Table, new: Table, columns: Sequence[str], where: str) -> None:
    """Refuse what a partitioned table cannot have, by name. Raises SpecError and PreflightError."""
    for index in new.indexes:
        if index.unique and not {*columns} <= {*index.columns}:
            raise SpecError(
                f"{index.name} is unique without {', '.join(c for c in columns if c not in index.columns)}:"
                " PostgreSQL keeps unique only what the partitions are told by",
                where=where,
                hint="Give rebuild_table a primary_key with those columns, too; drop other keys before the migration.",
            )
    for reason, hint in _of_a_partitioned(conn, table, new, columns):
        raise PreflightError(reason, where=table.full_name, hint=hint)


def _of_a_partitioned(conn: Connection, table: Table, new: Table, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    if table.persistence == "unlogged":
        yield "a partitioned table is never unlogged", "Set it logged first."
    for index in new.indexes:
        if index.clustered or index.replica_identity:
            what = "cluster" if index.clustered else "replica identity"
            yield f"partitions cannot take over {index.name} as their {what}", f"Take the {what} off it first."
    for dependent in table.dependents:
        if dependent.kind == "publication" and "through the root of partitions" not in dependent.definition:
            yield (
                f"the publication {dependent.name} would send rows under the names of the partitions",
                f"alter publication {quote(dependent.name)} set (publish_via_partition_root = true).",
            )
    for trigger in table.triggers:
        if trigger.row and " REFERENCING " in trigger.definition:
            yield (
                f"{trigger.name} is called for each row with a transition table",
                "Drop the trigger before the migration.",
            )
    yield from _of_before_triggers(conn, table, columns)


def of_versions(conn: Connection, table: Table) -> Iterator[tuple[str, str]]:
    """Yield what partitioned tables of this version of the server cannot get, or get back, in a short transaction."""
    version = conn.info.server_version
    foreign = [c.name for c in table.constraints if c.kind == "foreign key"]
    if foreign and version < NOT_VALID_KEYS:
        yield (
            f"before PostgreSQL 18 a partitioned table gets no foreign key without a scan under a lock: {foreign[0]}",
            "Drop the foreign key before the migration, and add it again afterwards.",
        )
    if any(sequence.identity for sequence in table.sequences) and version < IDENTITIES:
        yield "before PostgreSQL 17 a partitioned table has no identity", "Make it a serial before the migration."


def _of_before_triggers(conn: Connection, table: Table, columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A row has its partition when BEFORE triggers see it: one that moves it elsewhere makes the statement fail."""
    rows = conn.execute(
        """
        select t.tgname::text, l.lanname::text, p.prosrc from pg_catalog.pg_trigger t
        join pg_catalog.pg_proc p on p.oid = t.tgfoid join pg_catalog.pg_language l on l.oid = p.prolang
        where t.tgrelid = %s::regclass and not t.tgisinternal and t.tgtype & 7 = 7 order by 1
        """,
        (quote_qualified(table.full_name),),
    ).fetchall()
    names = "|".join(re.escape(column) for column in columns)
    for name, language, source in rows:
        if language != "plpgsql" or re.search(rf"{_WHOLE_ROW}|(?<!\w)({names})(?!\w)", source, re.IGNORECASE):
            yield (
                f"the trigger {name} runs before a row is written, and may change {', '.join(columns)}:"
                " PostgreSQL refuses a row that leaves its partition there",
                "Drop the trigger before the migration, or let its function not name those columns.",
            )
