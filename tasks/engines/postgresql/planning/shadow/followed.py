"""The table that dual write follows, and which of its partitions: what was written to others, nobody has seen."""

from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.names import OWN_TRIGGERS, quote

UNSEEN = "UP001"
"""What was written to a partition is not known: a code that no server gives.

Classes from I to Z are left to implementations, and PostgreSQL uses but P0 and XX of them.
"""
_WHY = "a partition was attached, or made, since dual write began: what was written to it is not known"


def rejected_since(migration: str, direction: str) -> str:
    """Return what follows `select`: the rejections `r` of a migration in one direction since its run began."""
    return (
        " from changeover.rejections r join changeover.migrations m on m.id = r.migration"
        f" where m.id = {literal(migration)} and r.id > m.attempt_rejection and r.direction = {literal(direction)}"
    )


@dataclass(frozen=True, kw_only=True)
class Followed:
    """The source of one direction, under the names that its triggers have."""

    tag: str
    direction: str
    """`up`: before the swap, from the old table to the new one. `down`: after it."""
    migration: str
    full_name: str
    source: str
    """Quoted and qualified."""
    schema: str
    """Where it is, and its partitions."""
    parts: tuple[str, ...]
    """Their names."""

    @property
    def triggers(self) -> tuple[str, str]:
        """Names of the row trigger and of the one for TRUNCATE."""
        return (f"{OWN_TRIGGERS}{self.tag}_row", f"{OWN_TRIGGERS}{self.tag}_truncate")

    @property
    def relations(self) -> tuple[str, ...]:
        """What can be emptied: the source, and each of its partitions by itself."""
        return (self.source, *(f"{quote(self.schema)}.{quote(part)}" for part in self.parts))

    @property
    def unseen(self) -> str:
        """The query for partitions, on any level, of which not every write since dual write began has been seen.

        One command has switched the row triggers of all of them on, so one transaction wrote them all down. That of a
        partition which was attached, or made, since is of another, and what was written before fired nothing.
        """
        row, truncate = (literal(name) for name in self.triggers)
        # What the server has to list them would lock them.
        return f"""\
with recursive part (inhrelid) as (
  select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent = to_regclass({literal(self.source)})
  union select i.inhrelid from pg_catalog.pg_inherits i join part on i.inhparent = part.inhrelid)
select part.inhrelid from part
where not exists (
  select from pg_catalog.pg_trigger whole
  join pg_catalog.pg_trigger own on own.tgrelid = part.inhrelid and own.tgname = {row} and own.tgparentid <> 0
  join pg_catalog.pg_trigger emptied on emptied.tgrelid = part.inhrelid and emptied.tgname = {truncate}
  where whole.tgrelid = to_regclass({literal(self.source)}) and whole.tgname = {row} and own.xmin = whole.xmin
    and own.tgenabled = 'A' and emptied.tgenabled = 'A')"""

    @property
    def gaps(self) -> str:
        """The same as a list of problems."""
        return f"select 'dual write of the partition ' || inhrelid::regclass as problem from ({self.unseen}) as unseen"

    @property
    def whole(self) -> str:
        """The statement that fails when there is such a partition; empty where the source has none.

        Whoever has read rows asks it afterwards, in the same transaction: a partition whose rows were read cannot leave
        before that ends, so it is still there to be seen.
        """
        return f"select {self.whole_function}()" if self.parts else ""

    @property
    def whole_function(self) -> str:
        """Name of the function that fails then."""
        return f'changeover."shadow_{self.direction}_whole_{self.tag}"'

    def create_whole_function(self) -> tuple[str, ...]:
        """Return the statement that makes that function, where it is needed."""
        if not self.parts:
            return ()
        return (
            f"""\
create or replace function {self.whole_function}() returns void language plpgsql as $co_{self.tag}$
begin
  if exists ({self.gaps}) then
    raise exception {literal(_WHY)} using errcode = '{UNSEEN}';
  end if;
end
$co_{self.tag}$""",
        )

    def note_stranger(self) -> str:
        """Note that a partition is written to that the plan does not know: it may leave, and no trigger says so.

        Once is enough.
        """
        if not self.parts:
            return ""
        known = ", ".join(literal(part) for part in self.parts)
        migration, name = literal(self.migration), literal(self.full_name)
        return f"""\
  if tg_op <> 'TRUNCATE' and (tg_table_schema <> {literal(self.schema)} or tg_table_name not in ({known})) then
    insert into changeover.rejections (migration, table_name, direction, sqlstate)
    select {migration}, {name}, {literal(self.direction)}, '{UNSEEN}'
    where not exists (
      select{rejected_since(self.migration, self.direction)} and r.sqlstate = '{UNSEEN}' and r.table_name = {name});
  end if;
"""
