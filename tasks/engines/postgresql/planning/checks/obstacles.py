"""What stands in the way of changing a table in place: named, with the remedy, before anything is done."""

from collections.abc import Iterator, Mapping

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.spec_draft import Connection
from tasks.model.catalogue import Dependent, Table
from tasks.model.errors import PreflightError
from tasks.model.names import OWN_TRIGGERS
from tasks.model.plan import Finding

API_MARK = "an API version, made by Changeover"
"""How the comment of each view of ours for a service begins; the migration follows."""
INVALID = "Reindex it concurrently, or drop it."
"""What is to be done about an index that somebody's interrupted build left."""


def of_table(table: Table) -> None:
    """Refuse what is not an ordinary table."""
    where = table.full_name
    if table.kind != "table":
        raise PreflightError(f"{where} is a {table.kind}", where=where, hint=_instead(table))
    if table.persistence == "temporary":
        raise PreflightError(f"{where} is temporary", where=where, hint="Name the permanent table.")
    if any(trigger.name.startswith(OWN_TRIGGERS) for trigger in table.triggers):
        raise PreflightError(
            f"another migration of {where} is not contracted yet",
            where=where,
            hint="See `changeover status`; contract that migration, or roll it back, first.",
        )
    if table.parents or table.children:
        raise PreflightError(
            f"{where} is part of a partitioned table or of an inheritance tree",
            where=where,
            hint=_instead(table),
        )


def _instead(table: Table) -> str:
    """Return what does change a table that is not an ordinary one."""
    if table.partition_bound:
        way = f"A partition is changed with its table, {table.parents[0]}, or by `sql`, with the locks that it takes."
    elif table.kind == "partitioned table":
        way = (
            "A partitioned one is made anew by `strategy: shadow_table`, with rebuild_table and its partition_by or"
            " `unpartition: true`, other operations beside it; or changed by `sql`, with the locks that it takes."
        )
    elif table.parents or table.children:
        way = "A table of an inheritance tree is changed by `sql`, with the locks that it takes."
    else:
        return "Only ordinary tables can be changed."
    return f"Expand-contract changes ordinary tables. {way}"


def without(kind: str) -> str:
    """Return the advice to do without something for the time of the migration, and what that costs."""
    advice = f"Drop the {kind} before the migration and create it again afterwards."
    if kind == "policy":
        advice += (
            " For as long as it is away, who was let in by it alone finds no rows, and if it is restrictive, the rows"
            " that it kept back are unguarded. Where row security is switched off for it, all are."
        )
    return advice


def unfinished(conn: Connection, table: Table, migration: str) -> None:
    """Refuse a table, or a view of ours, that another migration still has to drop, or to rename.

    Such a migration may have no trigger on it; its dumps and the keys of its steps tell.
    """
    row = conn.execute("select to_regclass('changeover.steps') is not null").fetchone()
    if not (row and row[0]):
        return
    found = conn.execute(
        """
        select m.id from changeover.migrations m
        where m.id <> %(migration)s and m.state not in ('planned', 'contracted', 'rolled back')
          and (exists (
            select from json_array_elements(m.plan -> 'dumps') as dump where dump ->> 'table' = %(table)s)
          or exists (
            select from changeover.steps s
            where s.migration = m.id and (
              (s.phase = 'contract' and starts_with(s.key, 'contract/' || %(table)s || '/'))
              or starts_with(s.key, 'expand/' || %(table)s || '/view ')
              or right(s.key, length(%(table)s) + 6) = '/view ' || %(table)s)))
        order by 1
        """,
        {"migration": migration, "table": table.full_name},
    ).fetchall()
    if found:
        raise PreflightError(
            f"another migration of {table.full_name} is not contracted yet: {', '.join(row[0] for row in found)}",
            where=table.full_name,
            hint="See `changeover status`; contract that migration, or roll it back, first.",
        )


def between_tables(drafts: Mapping[str, TableDraft]) -> None:
    """Refuse to change both sides of a foreign key at once: each table would move it."""
    for draft in drafts.values():
        for foreign_key in draft.table.inbound:
            child = drafts.get(foreign_key.table)
            if child is None or child is draft or not set(foreign_key.referenced_columns) & draft.altered.keys():
                continue
            both = set(foreign_key.columns) & child.touched
            if both:
                raise PreflightError(
                    f"the foreign key {foreign_key.name} has both sides changed: {child.full_name}"
                    f" ({', '.join(sorted(both))}) and {draft.full_name}",
                    where=child.full_name,
                    hint="Change the referring column in a migration of its own first, then the key.",
                )


def of_columns(draft: TableDraft) -> None:
    """Refuse to replace or drop a column that something outside the table reads."""
    replaced = draft.touched - draft.renamed.keys()
    for dependent in draft.table.dependents:
        used = set(dependent.columns) & replaced
        schema = dependent.name.rpartition(".")[0]
        if used and dependent.kind == "view" and schema in draft.spec.versions:
            if not draft.spec.makes_version:
                raise PreflightError(
                    f"applications see {', '.join(sorted(used))} through the version {schema}",
                    where=draft.full_name,
                    hint="Give the migration a version_schema, so that they can choose between old and new.",
                )
        elif used:
            raise PreflightError(
                f"the {dependent.kind} {dependent.name} reads {', '.join(sorted(used))}",
                where=draft.full_name,
                hint=_of_api_version(draft, dependent) or without(dependent.kind),
            )
    for foreign_key in draft.table.inbound:
        dropped = set(foreign_key.referenced_columns) & (replaced - draft.altered.keys())
        if dropped:
            raise PreflightError(
                f"the foreign key {foreign_key.name} of {foreign_key.table} refers to {', '.join(sorted(dropped))}",
                where=draft.full_name,
                hint="Drop the foreign key first.",
            )
        if foreign_key.table == draft.full_name and set(foreign_key.columns) & draft.altered.keys():
            raise PreflightError(
                f"the foreign key {foreign_key.name} of the table on itself has both sides altered",
                where=draft.full_name,
                hint="Change the referring column in a migration of its own first, then the key.",
            )
    _policies(draft, replaced)
    _triggers(draft, replaced)
    _replica_identity(draft, replaced)


def _of_api_version(draft: TableDraft, dependent: Dependent) -> str:
    """Return what to do about a view or a function that `create_api_version` made; empty: it is somebody else's."""
    row = draft.rehearsal.conn.execute(
        """
        select v.relname from pg_catalog.pg_class v
        join pg_catalog.pg_namespace n on n.oid = v.relnamespace
        left join pg_catalog.pg_proc p on p.prorettype = v.reltype
        left join pg_catalog.pg_namespace f on f.oid = p.pronamespace
        where v.relkind = 'v' and starts_with(pg_catalog.obj_description(v.oid, 'pg_class'), %s)
          and (n.nspname || '.' || v.relname = %s or starts_with(%s, f.nspname || '.' || p.proname))
        """,
        (API_MARK, dependent.name, dependent.name),
    ).fetchone()
    if row is None:
        return ""
    return (
        f"It belongs to the API version {row[0]}: make another one without the column, create_api_version, and when its"
        " service has moved, drop_api_version, each in a migration of its own."
    )


def _policies(draft: TableDraft, replaced: set[str]) -> None:
    """A policy reads columns by number: after the swap it would guard the retired one."""
    for policy in draft.table.policies:
        used = set(policy.referenced) & replaced
        if used:
            raise PreflightError(
                f"the policy {policy.name} reads {', '.join(sorted(used))}",
                where=draft.full_name,
                hint=without("policy"),
            )


def _triggers(draft: TableDraft, replaced: set[str]) -> None:
    for trigger in draft.table.triggers:
        used = set(trigger.referenced) & replaced
        if used:
            raise PreflightError(
                f"the trigger {trigger.name} depends on {', '.join(sorted(used))}",
                where=draft.full_name,
                hint=without("trigger"),
            )
        ours = draft.dual.trigger_names
        if trigger.timing == "before" and trigger.row and any(trigger.name.encode() > name.encode() for name in ours):
            raise PreflightError(
                f"the trigger {trigger.name} would fire after those of dual write and could undo their work",
                where=draft.full_name,
                hint=f"Rename it so that it sorts before {ours[0]!r}.",
            )


def of_updates(draft: TableDraft) -> None:
    """Refuse what would turn the UPDATE of a backfill into another statement, or hide rows from it."""
    if not draft.shape.targets:
        return
    for one in draft.table.dependents:
        own = one.kind == "rule" and one.name.startswith(f"{draft.full_name}.")
        if own and " ON UPDATE TO " in one.definition and " disable rule " not in one.definition:
            raise PreflightError(
                f"the rule {one.name} rewrites every UPDATE of the table, those of the backfill too",
                where=draft.full_name,
                hint=without("rule"),
            )
    visible(draft, draft.real, draft.full_name)


def visible(draft: TableDraft, table: str, where: str) -> None:
    """Refuse policies of a table, quoted and qualified, that would hide rows from this role, and so from ours."""
    row = draft.rehearsal.conn.execute(
        "select n.nspname || '.' || c.relname, pg_catalog.row_security_active(c.oid) from pg_catalog.pg_class c"
        " join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%s)",
        (table,),
    ).fetchone()
    if row and row[1]:
        raise PreflightError(
            f"row security of {row[0]} holds for this role, too: rows would be missed",
            where=where,
            hint="Connect as a role with bypassrls; or, as the owner, take FORCE away for the time of the migration.",
        )


def _replica_identity(draft: TableDraft, replaced: set[str]) -> None:
    for index in draft.table.indexes:
        if index.replica_identity and set(index.columns) & replaced:
            raise PreflightError(
                f"{index.name} is the replica identity and covers a column that is replaced",
                where=draft.full_name,
                hint="Set REPLICA IDENTITY to DEFAULT or FULL for the time of the migration.",
            )


def user_triggers(draft: TableDraft, choice: str, may_bypass: bool) -> Iterator[Finding]:
    """Decide what happens to triggers of others that an UPDATE of the backfill would fire."""
    firing = [
        t for t in draft.table.triggers
        if "update" in t.events and t.enabled in ("origin", "always") and not t.update_columns
    ]  # fmt: skip
    if not firing or not draft.shape.targets:
        return
    names = ", ".join(t.name for t in firing)
    if choice == "refuse":
        raise PreflightError(
            f"the backfill would fire the triggers {names}",
            where=draft.full_name,
            hint="Write `backfill: {user_triggers: bypass}` to keep them quiet, or `fire` if they may run.",
        )
    if choice == "fire":
        yield Finding(rule="SAF-10", severity="warning", message=f"the backfill fires {names}", where=draft.full_name)
        return
    always = [t.name for t in firing if t.enabled == "always"]
    if always or not may_bypass:
        raise PreflightError(
            f"the triggers {names} cannot be kept quiet: "
            + ("ENABLE ALWAYS fires in any case" if always else "the role may not set session_replication_role"),
            where=draft.full_name,
            hint="grant set on parameter session_replication_role to the role, or write `user_triggers: fire`.",
        )
    draft.bypass_triggers = True
