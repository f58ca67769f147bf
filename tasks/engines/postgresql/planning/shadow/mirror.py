"""What keeps one table the image of another: triggers on the source, and what to do with what they put aside.

AFTER ROW, so that generated columns and other triggers' work are in it; logical replication fires row triggers too.

A transaction at REPEATABLE READ cannot see what was copied after it began, so it cannot tell whether there is
something to replace. It notes the key, and `drain` carries it over; so does a write that the target refuses, and the
statement of the application succeeds.
"""

from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shadow.noted import Noted
from tasks.model.names import OWN_TRIGGERS, quote
from tasks.model.plan import differing

_WAITED = "perform set_config('changeover.waited', 'yes', true)"
_PATIENCE = "case when current_setting('changeover.waited', true) = 'yes' then '1ms' else '100ms' end"
"""As long a write waits at the other table for somebody: once in a transaction a tenth of what a deadlock may last."""


@dataclass(frozen=True, kw_only=True)
class Mirror(Noted):
    """The triggers of one direction."""

    guarded: bool
    """The target may refuse what the source has taken."""
    impatient: bool = False
    """Rows that have nothing to do with each other in the source may have in the target: nobody waits for that long."""
    mended: bool = False
    """Applications may break a rule of one of the tables, and mend it before the statement or transaction ends."""

    @property
    def function(self) -> str:
        """Name of the trigger function."""
        return f'changeover."shadow_{self.direction}_{self.tag}"'

    @property
    def _around(self) -> dict[str, str]:
        """Names of the triggers before and after a statement: none where nothing has to be checked at once."""
        return {when: f"{OWN_TRIGGERS}{self.tag}_{when}" for when in ("before", "after") if self.immediate}

    def create_functions(self) -> tuple[str, ...]:
        """Return the statements that make the functions."""
        return (*self.create_whole_function(), self._trigger_function(), self.create_drain_function())

    def create_triggers(self) -> tuple[str, ...]:
        """Return the statements that install the triggers, for every session, also of replication."""
        row, truncate = self.triggers
        written = "insert or update or delete"
        found = [(row, f"after {written}", self.source, "row")]
        for one in self.relations:
            found.append((truncate, "after truncate", one, "statement"))
            found += [(name, f"{when} {written}", one, "statement") for when, name in self._around.items()]
        return tuple(
            statement
            for name, event, table, each in found
            for statement in (
                f"create trigger {quote(name)} {event} on {table} for each {each} execute function {self.function}()",
                f"alter table {table} enable always trigger {quote(name)}",
            )
        )

    def drop_triggers(self) -> tuple[str, ...]:
        """Return the statements that remove the triggers."""
        row, truncate = self.triggers
        return (
            f"drop trigger if exists {quote(row)} on {self.source}",
            *(
                f"drop trigger if exists {quote(name)} on {one}"
                for one in self.relations
                for name in (truncate, *self._around.values())
            ),
        )

    def drop_functions(self) -> tuple[str, ...]:
        """Return the statements that remove the functions, and triggers of a partition that has left with one."""
        names = (
            f"{self.function}()",
            f"{self.drain_function}(bigint, bigint)",
            *([f"{self.whole_function}()"] * bool(self.parts)),
        )
        return tuple(f"drop function if exists {name} cascade" for name in names)

    def _both(self, *, told: bool) -> str:
        return f"""\
    if tg_op <> 'INSERT' then {self.note("old", told=told)}; end if;
    if tg_op <> 'DELETE' then {self.note("new", told=told)}; end if;"""

    def _take(self, row: str) -> str:
        """A row that comes under this key later is another one."""
        return f"{self.remove(row)}; {self.forget(row)};"

    def _carry(self) -> str:
        old, new = (", ".join(f"{row}.{quote(c)}" for c in self.key) for row in ("old", "new"))
        return f"""\
    if tg_op = 'DELETE' then
      {self._take("old")}
    else
      if tg_op = 'UPDATE' then
        if {differing(old, new, exact=True)} then
          {self._take("old")}
        end if;
      end if;
      {self.put("new")};
    end if;"""

    def _truncate(self) -> str:
        """A partition is emptied by itself, or with its table; one that was detached has kept the trigger."""
        emptied = (self.target, self.aside)
        if not self.parts:
            return f"truncate {', '.join(emptied)};"
        part = "".join(
            f"""
      execute {literal(f"delete from {one} as b where ")}
        || coalesce(pg_catalog.pg_get_partition_constraintdef(tg_relid), 'true');"""
            for one in emptied
        )
        return f"""\
if tg_relid = {literal(self.source)}::regclass then
      truncate {", ".join(emptied)};
    elsif {literal(self.source)}::regclass in (select relid from pg_catalog.pg_partition_ancestors(tg_relid)) then
      -- The only one, if it is the default, takes every row: it has no condition.{part}
      if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        -- It does not see what others have written since it began: that would stay.
        insert into changeover.rejections (migration, table_name, direction, sqlstate)
        values ({literal(self.migration)}, {literal(self.full_name)}, {literal(self.direction)}, '40001');
      end if;
    end if;"""

    def _trigger_function(self) -> str:
        body = self._guarded() if self.guarded else self._carry()
        return f"""\
create or replace function {self.function}() returns trigger
language plpgsql security definer {self.settings()} as $co_{self.tag}$
#variable_conflict use_column
begin
{self._statement()}{self.note_stranger()}  if tg_op = 'TRUNCATE' then
    {self._truncate()}
  elsif current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
{self._both(told=False)}
  else
{body}
  end if;
  return null;
end
$co_{self.tag}$"""

    @property
    def _checked(self) -> str:
        """The setting that says, within a statement, that it has been seen to."""
        return f"changeover.at_once_{self.tag}"

    def _statement(self) -> str:
        """What is refused is refused at once: to say so walks along all that is deferred, so once is enough.

        Not for the transaction: within it applications may defer again. Where such triggers do not fire, as for
        logical replication, it is said for each row.
        """
        if not self.immediate:
            return ""
        return f"""\
  if tg_level = 'STATEMENT' and tg_op <> 'TRUNCATE' then
    if tg_when = 'BEFORE' then
      {self.at_once()}
    end if;
    perform set_config('{self._checked}', case tg_when when 'BEFORE' then 'yes' else '' end, true);
    return null;
  end if;
"""

    def _at_once(self) -> str:
        if not self.immediate:
            return ""
        return f"""\
    if current_setting('{self._checked}', true) is distinct from 'yes' then
      {self.at_once()}
    end if;
"""

    def _guarded(self) -> str:
        """What the target refuses is noted. What is undone with the block is what it has set, too."""
        patient = ("", "")
        if self.impatient:
            patient = (
                f"    perform set_config('lock_timeout', {_PATIENCE}, true);\n",
                "\n    perform set_config('lock_timeout', _changeover_timeout, true);",
            )
        return f"""\
    declare
      _changeover_timeout constant text := current_setting('lock_timeout');
    begin
{patient[0]}{self._at_once()}{self._carry()}{patient[1]}
    exception
      {self._unless_noted()}
      when others then
{self._both(told=True)}{self.rejected()}
    end;"""

    def _unless_noted(self) -> str:
        """What may fit later is noted only, and told when it is carried over and does not.

        Where rows meet that do not in the source, nobody waits for the transaction of another until the server calls it
        a deadlock.
        """
        later = ["lock_not_available"] * self.impatient
        later += ["unique_violation", "exclusion_violation"] * self.mended
        raised = ["serialization_failure", "deadlock_detected", "query_canceled"]
        raised += [] if self.impatient else ["lock_not_available"]
        raising = f"when {' or '.join(raised)} then raise;"
        noted = f"    if sqlstate = '55P03' then {_WAITED}; end if;\n" * self.impatient + self._both(told=False)
        return f"{raising}\n      when {' or '.join(later)} then\n{noted}" if later else raising
