"""What others have built on the columns of a table: views, triggers, routines and events that name them.

The server does not tell which columns they use, so their texts are searched, as the plan is made and again before
whatever takes a column away: rather too much is found than too little.
"""

import re
from collections.abc import Collection, Iterator

from tasks.engines.mysql.names import text_literal
from tasks.engines.mysql.preflight import require_sight
from tasks.engines.mysql.session import MariaSession
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.names import OWN_PREFIX
from tasks.model.plan import Requirement

_TEXTS = f"""
    select concat('the view ', table_name) as what, view_definition as said
      from information_schema.views where table_schema = database()
    union all select concat('the trigger ', trigger_name), concat(event_object_table, ' ', action_statement)
      from information_schema.triggers
     where event_object_schema = database() and left(trigger_name, {len(OWN_PREFIX)}) <> '{OWN_PREFIX}'
       and left(event_object_table, {len(OWN_PREFIX)}) not in ('{OWN_PREFIX}', '~{OWN_PREFIX.lstrip("_")}')
    union all select concat('the ', lower(routine_type), ' ', routine_name), routine_definition
      from information_schema.routines where routine_schema = database()
    union all select concat('the event ', event_name), event_definition
      from information_schema.events where event_schema = database()
"""
_HIDDEN = "coalesce(m.said, '') = ''"


def refuse_mentioned(conn: MariaSession, table: Table, columns: Collection[str]) -> None:
    """Raise SpecError when something in the database names the table, and a column that it will not have any more.

    Its statements would fail from then on, and nobody would have been told. Raises SpecError, too, for what does not
    show what it says, and PreflightError for a user who would not see all.
    """
    if not columns:
        return
    require_sight(conn, table.full_name)
    found = conn.execute(_mentions(table, columns)).fetchone()
    if found is not None:
        raise SpecError(
            f"{found[0]} of {table.full_name}, and would fail without it",
            where=table.full_name,
            hint="Drop it for the migration, and make it again afterwards. If this user is not shown what it says:"
            " connect as the one who made it.",
        )


def requirements(
    conn: MariaSession, table: Table, new: Table, *, leaving: Collection[str], last: Collection[str] = ()
) -> Iterator[Requirement]:
    """Ask the same again: at the swap for columns that leave, before the contract for those that leave `last`.

    And before a rollback for those that came: but not for what is as it was when they were not there.
    """
    there = {column.name.lower() for column in table.columns}
    coming = {column.name for column in new.columns if column.name.lower() not in there}
    if leaving:
        yield _requirement(table, "before_swap", "no more use for columns that leave", _mentions(table, leaving))
    if last:
        yield _requirement(table, "before_contract", "no more use for columns that are dropped", _mentions(table, last))
    if coming:
        seen = f"sha2(m.said, 256) as seen from {_joined(table, coming)} where not {_HIDDEN}"
        known = ", ".join(f"'{row[0]}'" for row in conn.execute(f"select distinct {seen} order by seen").fetchall())
        names = ", ".join(text_literal(name) for name in sorted(coming))
        present = (
            "exists (select 1 from information_schema.columns where table_schema = database()"
            f" and table_name = {text_literal(table.name)} and binary column_name in ({names}))"
        )
        others = f" and sha2(m.said, 256) not in ({known})" if known else ""
        query = f"{_mentions(table, coming)} and not {_HIDDEN} and {present}{others}"
        yield _requirement(table, "before_rollback", "no use yet for columns that came", query)


def _requirement(table: Table, gate: str, what: str, violations: str) -> Requirement:
    return Requirement.model_validate(
        {
            "name": f"views, triggers, routines and events have {what} in {table.full_name}",
            "table": table.full_name,
            "kind": "structure",
            "gate": gate,
            "violations": violations,
            "reads_new": True,
        }
    )


def _mentions(table: Table, columns: Collection[str]) -> str:
    """Return a query for what names one of the columns, and for what does not show to this user whether it does."""
    return (
        f"select concat(m.what, if({_HIDDEN}, ', of which this user is not shown what it says, may name ', ' names '),"
        f" '''', c.name, '''') as problem from {_joined(table, columns)} where true"
    )


def _joined(table: Table, columns: Collection[str]) -> str:
    names = " union all ".join(
        f"select {text_literal(name)} as name, {_word(name)} as word" for name in sorted(columns)
    )
    return (
        f"({_TEXTS}) as m join ({names}) as c"
        f" on {_HIDDEN} or (m.said regexp {_word(table.name)} and m.said regexp c.word)"
    )


def _word(name: str) -> str:
    """Return the pattern of a name, in any case; a backtick in it may be doubled."""
    return text_literal(rf"(?i)(?<![\w$]){re.escape(name).replace('`', '``?')}(?![\w$])")
