"""What cannot be carried over to a new table, each with the reason and what to do about it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.checks.obstacles import INVALID, without
from tasks.engines.postgresql.planning.keys import key_columns, walkable
from tasks.engines.postgresql.planning.shadow import partitions
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.engines.postgresql.planning.shadow.exchange import publications
from tasks.engines.postgresql.planning.shadow.places import Places
from tasks.engines.postgresql.planning.shadow.readers import readers
from tasks.engines.postgresql.planning.shadow.rehearse import alone, bare
from tasks.engines.postgresql.transient import is_transient
from tasks.model.catalogue import Index, Table
from tasks.model.catalogue_difference import compare
from tasks.model.errors import PreflightError
from tasks.model.names import quote
from tasks.model.plan import Finding

_CARRIED = ("view", "rule", "function", "statistics", "publication", "generated column")


def of_table(conn: Connection, table: Table) -> None:
    """Refuse a table that has something which does not arrive. Raises PreflightError."""
    reasons = [*_of_the_kind(table), *_of_its_parts(table), *_of_dependents(table), *_of_policies(conn, table)]
    reasons += [*_of_functions(conn, table), *_of_rights(conn, table)]
    if partitions.partitioned(table):
        reasons += [*partitions.of_table(conn, table), *partitions.of_versions(conn, table)]
    if reasons:
        reason, hint = reasons[0]
        raise PreflightError(reason, where=table.full_name, hint=hint)


Reason = tuple[str, str]


def _of_the_kind(table: Table) -> Iterator[Reason]:
    if table.kind not in ("table", "partitioned table") or table.persistence == "temporary":
        yield f"{table.full_name} is a {table.persistence} {table.kind}", "Only tables can be made anew."
    if table.parents or table.partition_bound or (table.children and not partitions.partitioned(table)):
        yield (
            f"{table.full_name} inherits from, or is inherited by, other tables",
            "Detach it first, or make the whole anew by hand.",
        )


def _of_its_parts(table: Table) -> Iterator[Reason]:
    for constraint in table.constraints:
        if constraint.kind in ("check", "not null") and not constraint.validated:
            yield f"{constraint.name} is not validated: a new table takes no row that breaks it", "Validate it first."
        if not constraint.enabled:
            yield f"the triggers of {constraint.name} were switched off", "Switch them on, or drop the constraint."
        if constraint.kind == "trigger":
            yield f"{constraint.name} is a constraint trigger", "Drop it, and create it again afterwards."
    for index in table.indexes:
        if not index.valid:
            yield f"the index {index.name} is invalid", INVALID
        if index.tablespace:
            yield f"the index {index.name} is in the tablespace {index.tablespace}", "Move it to the default first."
    for key in table.inbound:
        if table.column(key.referenced_columns[0]) is None:
            yield f"the foreign key {key.name} points to a column that is gone", "Drop it."


def _of_dependents(table: Table) -> Iterator[Reason]:
    for one in table.dependents:
        if one.kind == "publication" and "for all tables" in one.definition:
            yield (
                f"the publication {one.name} sends all tables: subscribers do not have the shadow, and would stop",
                "Let it name its tables for the time of the migration.",
            )
        if one.through or one.kind in _CARRIED:
            continue
        yield (
            f"the {one.kind} {one.name} depends on the table, and would stay with the old one",
            without(one.kind),
        )


def _of_policies(conn: Connection, table: Table) -> Iterator[Reason]:
    if table.force_row_security:
        row = conn.execute("select rolsuper or rolbypassrls from pg_catalog.pg_roles where rolname = current_user")
        found = row.fetchone()
        if not found or not found[0]:
            yield (
                "row security is forced on the owner: a copy would miss rows",
                "Connect as a role with bypassrls, or take FORCE away for the time of the migration.",
            )


def _of_functions(conn: Connection, table: Table) -> Iterator[Reason]:
    """A function that takes or gives rows of the table knows their type, which is another one afterwards."""
    rows = conn.execute(
        """
        select p.oid::regprocedure::text from pg_catalog.pg_proc p, pg_catalog.pg_type t
        where t.typrelid = %s::regclass
          and array[t.oid, t.typarray]
            && (array[p.prorettype] || p.proargtypes::oid[] || coalesce(p.proallargtypes, '{}'))
        order by 1
        """,
        (quote_qualified(table.full_name),),
    ).fetchall()
    for row in rows:
        yield (
            f"the function {row[0]} takes or gives rows of the table",
            without("function"),
        )


def _of_rights(conn: Connection, table: Table) -> Iterator[Reason]:
    row = conn.execute(
        "select has_schema_privilege(%s, 'create'), has_database_privilege(current_database(), 'create')",
        (table.schema_name,),
    ).fetchone()
    assert row is not None
    for right, place in zip(row, (f"schema {table.schema_name}", "database"), strict=True):
        if not right:
            yield f"the role may not create anything in the {place}", f"grant create on the {place} to it."
    for what, place, owned, may_create in _made_again(conn, table):
        if not owned:
            yield f"{what} is made again at the swap, and is not the role's", "Make the role a member of its owner."
        if not may_create:
            yield (
                f"the role may not create anything in the schema {place}, where {what} is made again at the swap",
                f"grant create on the schema {place} to it.",
            )


def _made_again(conn: Connection, table: Table) -> Iterator[tuple[str, str, bool, bool]]:
    """Give what is made again, its schema, and whether it is the role's, and the role may create there, or need not."""
    for one in readers(conn, table):
        kind = "view" if one.view else "table"
        yield f"the {kind} {one.name}", one.schema, one.owned, one.may_create or not one.view
    yield from conn.execute(
        """
        select distinct 'the function ' || p.oid::regprocedure, n.nspname::text, pg_has_role(p.proowner, 'usage'),
               has_schema_privilege(n.oid, 'create')
        from pg_catalog.pg_depend d join pg_catalog.pg_proc p on p.oid = d.objid
        join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        where d.classid = 'pg_catalog.pg_proc'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
          and d.refobjid = %s::regclass
        order by 1
        """,
        (quote_qualified(table.full_name),),
    ).fetchall()


def of_change(change: Change, new: Table) -> None:
    """Refuse what stands on a column whose type or existence changes. Raises PreflightError."""
    table = change.table
    named = {*change.dropped, *change.renamed}
    gone = {*named, *change.computed, *change.converted(new)}
    other_type = {*named, *(c for c in change.altered if table.column(c) != new.column(c))}
    for one in table.dependents:
        hard = {"view": other_type, "function": other_type, "rule": other_type, "statistics": {*named}}
        hard |= {"publication": {*change.computed, *change.renamed}, "generated column": {*change.renamed}}
        used = {*one.columns} & hard.get(one.kind, set())
        if used and not one.through:
            raise _refusal(table, f"the {one.kind} {one.name} reads {', '.join(sorted(used))}", one.kind)
    for constraint in table.constraints:
        used = {*constraint.columns} & gone
        if constraint.kind == "foreign key" and used and constraint.name not in change.keys_gone:
            raise _refusal(table, f"the foreign key {constraint.name} reads {', '.join(sorted(used))}", "foreign key")
    for key in table.inbound:
        used = {*key.referenced_columns} & gone
        if used:
            raise _refusal(table, f"{key.name} of {key.table} refers to {', '.join(sorted(used))}", "foreign key")
    _of_keys(table, new)
    for trigger in table.triggers:
        used = {*trigger.referenced, *trigger.update_columns} & gone
        if used:
            raise _refusal(table, f"the trigger {trigger.name} names {', '.join(sorted(used))}", "trigger")
    for policy in table.policies:
        used = {*policy.referenced} & gone
        if used:
            raise _refusal(table, f"the policy {policy.name} reads {', '.join(sorted(used))}", "policy")
    for sequence in table.sequences:
        column = new.column(sequence.column)
        if column is None or column.type not in ("smallint", "integer", "bigint"):
            raise _refusal(table, f"{sequence.column} draws from the sequence {sequence.name}", "sequence")


def _of_keys(table: Table, new: Table) -> None:
    for key in new.inbound:
        if not any(_keeps_unique(new, index, {*key.referenced_columns}) for index in new.indexes):
            what = f"{key.name} of {key.table} refers to {', '.join(key.referenced_columns)}"
            raise _refusal(table, f"{what}, which is not unique any more", "foreign key")


def _keeps_unique(table: Table, index: Index, columns: set[str]) -> bool:
    """Tell whether a foreign key may refer to columns because of an index; true where included ones hide its key."""
    if not (index.unique and index.immediate) or index.partial or index.expressions:
        return False
    key = {*key_columns(table, index)}
    return columns == key if key else columns <= {*index.columns}


def of_functions(change: Change) -> None:
    """Refuse a trigger whose function says a name that the new table does not have. Raises PreflightError.

    Such a function fails only when it is called: from the swap on, with the statement of an application.
    """
    table, named = change.table, {*change.dropped, *change.renamed}
    for name, text in change.rehearsal.conn.execute(
        "select t.tgname::text, p.prosrc from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid"
        " where t.tgrelid = %s::regclass and not t.tgisinternal order by 1",
        (quote_qualified(table.full_name),),
    ).fetchall():
        said = {c for c in named if re.search(rf"(?<![\w$]){re.escape(c)}(?![\w$])", text, re.IGNORECASE)}
        if said:
            raise _refusal(table, f"the function of the trigger {name} names {', '.join(sorted(said))}", "trigger")


def of_publications(change: Change, new: Table, places: Places) -> None:
    """Refuse a publication that cannot say of the new table what it says of this one. Raises PreflightError."""
    conn, trial = change.rehearsal.conn, quote("_changeover_publication")
    column = quote(next(c.name for c in new.columns if c.generated is None))
    for name, (words, sent) in publications(conn, change.table, places).items():
        try:
            with conn.transaction(force_rollback=True):
                conn.execute(
                    f"create publication {trial} for table {change.twin}{words} with (publish = '{sent}',"
                    " publish_via_partition_root = true)"
                )
                # Whether the key of a row is sent is asked only when somebody writes.
                conn.execute(f"update {change.twin} set {column} = {column} where false")
                conn.execute(f"delete from {change.twin} where false")
        except psycopg.errors.InsufficientPrivilege:
            continue
        except psycopg.Error as error:
            if is_transient(error):
                raise
            reason = error.diag.message_detail or error.diag.message_primary
            raise PreflightError(
                f"the publication {name} cannot send the new table: {reason}",
                where=change.table.full_name,
                hint="Take the table out of the publication before the migration, and add it again afterwards.",
            ) from None


def _refusal(table: Table, reason: str, kind: str) -> PreflightError:
    return PreflightError(reason, where=table.full_name, hint=without(kind))


def refuse_differences(wanted: Table, found: Table) -> None:
    """Refuse a table of which something does not arrive by the statements that we know. Raises PreflightError."""
    differences = compare(alone(_in_any_order(bare(wanted))), alone(_in_any_order(found)))
    if differences:
        raise PreflightError(
            "the new table would differ: " + "; ".join(differences[:5]),
            where=wanted.full_name,
            hint="Take that off the table for the time of the migration.",
        )


def _in_any_order(table: Table) -> Table:
    """Forget the order of what follows the order of the columns, and how an index of partitions is printed."""
    indexes = tuple(
        i.model_copy(
            update={
                "referenced": tuple(sorted(i.referenced)),
                "definition": i.definition.replace(" ON ONLY ", " ON ", 1),
            }
        )
        for i in table.indexes
    )
    checks = tuple(
        c.model_copy(update={"columns": tuple(sorted(c.columns))}) if c.kind in ("check", "exclusion") else c
        for c in table.constraints
    )
    return table.model_copy(update={"indexes": indexes, "constraints": checks})


@dataclass(frozen=True, kw_only=True)
class RowKey:
    """The columns by which rows of two tables know each other, and the unique index of each that stands for them.

    All of them are in one of the two keys, and the other has some of them: a partitioned table may have to be told
    by more columns. They come in the order of each table's own index, along which it can be walked.
    """

    index: Index
    columns: tuple[str, ...]
    unique: tuple[str, ...]
    """Those of them that the index has."""
    new_index: Index
    new_columns: tuple[str, ...]
    new_unique: tuple[str, ...]


def choose_key(table: Table, new: Table, wanted: tuple[str, ...] | None) -> RowKey:
    """Return the unique key by which rows of both tables know each other. Raises PreflightError."""
    mine = {key_columns(table, i): i for i in reversed(_keys(table))}
    theirs = {key_columns(new, i): i for i in reversed(_keys(new))}
    first = (wanted,) if wanted is not None else tuple(sorted(mine, key=lambda c: not mine[c].primary))
    pairs = [(columns, columns) for columns in first if columns in theirs]
    pairs += [(a, b) for a in mine for b in theirs if {*a} <= {*b} or {*b} <= {*a}]
    for own, other in pairs:
        columns, others = (*own, *(c for c in other if c not in own)), (*other, *(c for c in own if c not in other))
        if own not in mine or other not in theirs or (wanted is not None and {*wanted} != {*columns}):
            continue
        if all(_filled(one, column) for one in (table, new) for column in columns):
            return RowKey(
                index=mine[own],
                columns=columns,
                unique=own,
                new_index=theirs[other],
                new_columns=others,
                new_unique=other,
            )
    raise PreflightError(
        f"no unique key of {table.full_name} without NULLs, conditions and deferral is one of the new table, too",
        where=table.full_name,
        hint="Build a unique index concurrently on columns that are NOT NULL and stay, then run again.",
    )


def _filled(table: Table, name: str) -> bool:
    column = table.column(name)
    return column is not None and not column.nullable


def _keys(table: Table) -> list[Index]:
    found = [index for index in table.indexes if index.immediate and walkable(table, index)]
    return sorted(found, key=lambda i: (not i.primary, len(i.columns), i.name))


def findings(change: Change, differences: tuple[str, ...], size: int) -> Iterator[Finding]:
    """Say what changes, how much room it takes, and when there is a cheaper way."""
    where = change.table.full_name
    for one in differences:
        yield Finding(rule="SHD-01", severity="note", message=f"changes: {one}", where=where)
    yield Finding(
        rule="SHD-02",
        severity="note",
        message=f"until contract it takes the room of a second table and its indexes, about {size / 1e6:,.0f} MB as"
        " they are now, without what the spec adds; about as much WAL is written",
        where=where,
        hint="PostgreSQL does not tell how much is free: limits.room of the profile refuses what is too much.",
    )
    for column in change.recomputed:
        yield Finding(
            rule="SHD-05",
            severity="warning",
            message=f"from the swap on PostgreSQL refuses a statement that gives {column} a value of its own",
            where=where,
            hint="Let every application leave the column out before the swap: until then it is written as before.",
        )
    yield from _of_partitions(change)
    for sequence in change.table.sequences:
        if sequence.identity:
            yield Finding(
                rule="SHD-04",
                severity="note",
                message=f"{sequence.name} is another sequence of the same name from the swap on: an application that"
                " calls nextval itself, and waits at that moment, fails once",
                where=where,
            )
    for dependent in change.table.dependents:
        if dependent.kind == "publication":
            yield Finding(
                rule="SHD-03",
                severity="warning",
                message=f"subscribers of {dependent.name} get rows of the new shape from the swap on",
                where=where,
                hint="Change the tables of the subscribers first.",
            )


def _of_partitions(change: Change) -> Iterator[Finding]:
    table, wanted = change.table, change.partition_by
    if wanted is not None:
        yield Finding(
            rule="SHD-07",
            severity="note",
            message=f"from the swap on, who updates {', '.join(wanted.columns)} may move a row to another partition:"
            " triggers see it deleted and inserted, and others who write it then may get a serialization failure",
            where=table.full_name,
            hint="Let applications try such a transaction again.",
        )
        for index in table.indexes:
            if index.unique and not {*wanted.columns} <= {*index.columns}:
                yield Finding(
                    rule="SHD-08",
                    severity="warning",
                    message=f"({', '.join(index.columns)}) is not unique from the swap on: a second row is"
                    " taken, and `on conflict` that names it fails",
                    where=table.full_name,
                    hint="Let applications name all columns of the new key after `on conflict`.",
                )
    if partitions.partitioned(table):
        yield Finding(
            rule="SHD-06",
            severity="warning",
            message=f"the {len(table.children)} partitions are gone from the swap on: who names them fails, and"
            " what was granted on them is not carried",
            where=table.full_name,
            hint="Let applications read and write the table itself first.",
        )
