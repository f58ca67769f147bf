"""Whoever deletes or rekeys a row that is referred to locks what the column says of it before the rows of the junction.

Everybody else comes to the junction by way of the table: a row that is deleted there takes its own rows along. But of
two foreign keys to one row the server follows first the one whose trigger has the smaller name, with a number in it,
compared as a text: it may be either. So our own trigger, which fires before the row is touched, takes the locks that
the key of the column will take anyway.
"""

import re

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked.junction import Junction
from tasks.engines.postgresql.planning.linked.side import Side, create_triggers, drop_triggers

ACTS = "on delete set null on update cascade"
"""What the key of the column does from the swap on."""


def define(junction: Junction, actions: str) -> str:
    """Return the function for a foreign key of the column that is defined with these actions.

    One that only refuses locks rows no harder than anybody who refers to them.
    """
    acting = [event for event in ("delete", "update") if re.search(rf"\bon {event} (cascade|set)\b", actions, re.I)]
    old = _side(junction).value("old")
    rows = f"from {junction.whole.real} as s where {junction.whole.value('s')} = {old}"
    outbox, note = junction.outbox, ""
    if re.search(r"\bon update set\b", actions, re.I):
        # The junction follows the new key by itself: only the column knows that the reference goes. Nothing is noted
        # yet when the table has just been made, and no more when the rollback is about to drop it.
        note = f"""
  if tg_op = 'UPDATE' and pg_catalog.to_regclass({literal(outbox.table)}) is not null then
    insert into {outbox.table} (kind, {", ".join(outbox.links)}, key)
    select 's', {", ".join(junction.whole.values("s"))}, array[{old}::text] {rows};
  end if;"""
    return outbox.define(
        "first",
        "",
        "trigger",
        f"""\
begin
  if lower(tg_op) = any ('{{{",".join(acting)}}}') then
    perform {rows} for no key update;
  else
    perform {rows} for key share;
  end if;{note}
  if tg_op = 'DELETE' then return old; end if;
  return new;
end""",
    )


def create(junction: Junction, actions: str) -> tuple[str, ...]:
    """Return the statements that begin it. The other table must be locked against writers."""
    # What a generated column is going to be is known to no trigger that fires before.
    but = "update" if junction.other_generated else ""
    made = create_triggers(junction.outbox, _side(junction), "first", timing="before", but=but)
    return (define(junction, actions), *made)


def drop(junction: Junction) -> tuple[str, ...]:
    """Return the statements that end it."""
    return drop_triggers(junction.outbox, _side(junction), "first")


def _side(junction: Junction) -> Side:
    key = (junction.other_column,)
    return Side(real=junction.other, full_name=junction.other_name, columns=key, link=key, key=key, alone=True)
