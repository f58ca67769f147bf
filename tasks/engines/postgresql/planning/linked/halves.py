"""A row in two halves: columns that stand in two tables with one key, each following what is written into the other.

The part refers to the whole by a foreign key with ON DELETE and ON UPDATE CASCADE, from the beginning: a row of the
part never stands alone, goes with the row of the whole, and follows its key, in the statement that does so. What
triggers note is the rest: `s` a row of the whole was written, `t` one of the part. The last note of a key decides, so
that of two writers the one that wrote last has it.

- The whole decides: the part gets its values, or its row. Whether NULLs only are a row is the spec's to say.
- The part decides: the whole gets its values; where the row of the part was deleted, NULLs. Before the swap nobody
  has a reason to delete one, and it is made again.
- The part can have columns that are NOT NULL and that the whole has not: a new application inserts a row of the whole
  first. A whole with a NULL there says nothing. Of a split the NULL is taken back where the part has a value; of a
  merge it is what the new shape allows, so it stays, and so does the row of the part.

Whoever carries locks the row that he changes, and then looks whether a newer note has come: its writer had that row
before. A row of the part that somebody else is just inserting is not waited for: the note stays.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.linked.side import Side, create_triggers, drop_triggers
from tasks.model.names import quote
from tasks.model.plan import differing

_WAIT = "10ms"
"""How long a row is waited for that somebody else is just making: far less than the server waits for deadlocks."""


@dataclass(frozen=True, kw_only=True)
class Halves:
    """The two places of the columns, and how they follow each other."""

    outbox: Outbox
    """Its link is the key."""
    whole: Side
    part: Side
    types: tuple[str, ...]
    """Of the columns."""
    needed: tuple[str, ...]
    """Columns of the part that are NOT NULL, by their names in the whole."""
    when_null: Literal["row", "no_row"]
    merges: bool = False
    """The part is the old shape, and goes."""

    def create(self) -> tuple[str, ...]:
        """Return the statements that begin to keep the two in step. Both tables must be locked against writers."""
        return (
            *self.outbox.create(),
            self._make(),
            *(self._value(number) for number in self._numbers if self.merges),
            self.outbox.define("whole", "", "trigger", self._noting_whole()),
            self.outbox.define("part", "", "trigger", self._noting_part()),
            *self.functions(swapped=False),
            *create_triggers(self.outbox, self.whole, "whole"),
            *create_triggers(self.outbox, self.part, "part"),
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it."""
        return (
            *drop_triggers(self.outbox, self.whole, "whole"),
            *drop_triggers(self.outbox, self.part, "part"),
            *self.outbox.drop(),
            *(f"drop function if exists {self._value_name(number)}" for number in self._numbers if self.merges),
            f"drop function if exists {self.outbox.function('make')}({', '.join((*self.outbox.types, *self.types))})",
        )

    def functions(self, *, swapped: bool) -> tuple[str, ...]:
        """Return the function that differs before and after the swap."""
        return (self._carry(swapped=swapped),)

    def says(self, alias: str) -> str:
        """Condition that a row of the whole has a row of the part."""
        wanted = [f"{one} is not null" for one in self.whole.shown(alias, self.needed)]
        if self.when_null == "no_row":
            wanted.append(f"not {self.empty(alias)}")
        return " and ".join(wanted) or "true"

    def empty(self, alias: str) -> str:
        """Condition that all of the columns are NULL."""
        return f"num_nonnulls({', '.join(self.whole.shown(alias, self.whole.columns))}) = 0"

    def fill(self, number: int) -> str:
        """Return the expression that fills one of the columns of the whole, in the names of its columns."""
        return f"{self.outbox.function(f'value_{number}')}({', '.join(quote(column) for column in self.whole.link)})"

    @property
    def _numbers(self) -> range:
        return range(1, len(self.types) + 1)

    def _value_name(self, number: int) -> str:
        return f"{self.outbox.function(f'value_{number}')}({', '.join(self.outbox.types)})"

    def _value(self, number: int) -> str:
        """For the backfill: nobody carries the key meanwhile, and the part is read after that is sure."""
        column = self.part.shown("t", self.part.columns)[number - 1]
        return self.outbox.define(
            f"value_{number}",
            self.outbox.parameters,
            self.types[number - 1],
            f"""\
begin
  perform pg_catalog.pg_advisory_xact_lock({self.outbox.lock(self.outbox.arguments)});
  return (select {column} from {self.part.real} as t where {self.part.linked("t", self.outbox.arguments)});
end""",
        )

    @property
    def _values(self) -> tuple[str, ...]:
        return tuple(f"v{number}" for number in range(1, len(self.types) + 1))

    def _record(self, side: Side, alias: str) -> str:
        """The columns of a row under names that no column of a user has to differ from."""
        shown = side.shown(alias, side.columns)
        return ", ".join(f"{column} as {name}" for column, name in zip(shown, self._values, strict=True))

    def _fields(self, record: str) -> str:
        return ", ".join(f"{record}.{name}" for name in self._values)

    def _make(self) -> str:
        """Make a row of the part; false where somebody else is making it, and when it cannot be made."""
        late = f"changeover.late_{self.outbox.tag}"
        typed = ", ".join(f"{name} {type_name}" for name, type_name in zip(self._values, self.types, strict=True))
        columns = ", ".join(quote(one) for one in (*self.part.link, *self.part.columns))
        body = f"""\
begin
  if pg_catalog.current_setting('{late}', true) = pg_catalog.pg_current_xact_id()::text then return false; end if;
  begin
    insert into {self.part.real} ({columns}) values ({", ".join((*self.outbox.arguments, *self._values))})
    on conflict do nothing;
    return found;
  exception when others then
    -- Nothing that happens here may fail the statement of an application; and it waits once a transaction.
    perform pg_catalog.set_config('{late}', pg_catalog.pg_current_xact_id()::text, true);
    return false;
  end;
end"""
        made = self.outbox.define("make", f"{self.outbox.parameters}, {typed}", "boolean", body)
        return made.replace(" as $co_", f" set lock_timeout = '{_WAIT}' as $co_", 1)

    def _noting_whole(self) -> str:
        """A key that changes takes along what is still to be said; where replicas fire no cascade, the row, too."""
        side, outbox = self.whole, self.outbox
        old, new = side.values("old"), side.values("new")
        last = (
            f"select o.kind from {outbox.table} as o"
            f" where {' and '.join(f'o.{link} = {value}' for link, value in zip(outbox.links, old, strict=True))}"
            " order by o.id desc limit 1"
        )
        changed = side.changed(side.columns)
        left = f"exists (select from {self.part.real} as t where {self.part.linked('t', old)})"
        # Of a merge the part decides, unless something of the whole is still to be said.
        keeps = (
            f"not ({changed}) and coalesce(({last}) = 't', true)"
            if self.merges
            else f"not ({changed}) and coalesce(({last}) = 't', false) and not {left}"
        )
        return f"""\
begin
  if tg_op = 'INSERT' then
    if {self.says("new")} then
      {outbox.note("s", new, "null")}
    end if;
  elsif tg_op = 'DELETE' then
    {outbox.note("s", old, "null")}
  elsif {side.changed(side.link)} then
    if {keeps} then
      {outbox.note("t", new, "null")}
    else
      {outbox.note("s", new, "null")}
    end if;
    {outbox.note("s", old, "null")}
  else
    {outbox.note("s", new, "null")}
  end if;
  return null;
end"""

    def _noting_part(self) -> str:
        """A key that follows that of the whole is no write: the whole has no row with the old one any more."""
        side, outbox = self.part, self.outbox
        old, new = side.values("old"), side.values("new")
        left = self.whole.shown("s", self.whole.link)
        return f"""\
begin
  if tg_op = 'TRUNCATE' then
    insert into {outbox.table} (kind, {", ".join(outbox.links)})
    select 't', {", ".join(left)} from {self.whole.real} as s where not {self.empty("s")};
  elsif tg_op = 'INSERT' then
    {outbox.note("t", new, "null")}
  elsif tg_op = 'DELETE' then
    {outbox.note("t", old, "null")}
  elsif {side.changed(side.link)} then
    if exists (select from {self.whole.real} as s where {self.whole.linked("s", old)}) then
      {outbox.note("t", old, "null")}
      {outbox.note("t", new, "null")}
    end if;
  else
    {outbox.note("t", new, "null")}
  end if;
  return null;
end"""

    def _carry(self, *, swapped: bool) -> str:
        outbox, whole, part = self.outbox, self.whole, self.part
        of_whole, of_part = whole.linked("s", outbox.arguments), part.linked("t", outbox.arguments)
        # Before the swap nobody has a reason to delete a row that a split has made.
        part_decides = "last = 't'" if swapped or self.merges else "last = 't' and has_part"
        # Rows of the old shape are not ours to delete.
        cascades = "false" if self.merges else "has_part and last = 's'"
        return outbox.define(
            "carry",
            outbox.parameters,
            "bigint",
            f"""\
declare
  carried bigint;
  seen bigint[];
  last text;
  mine record;
  theirs record;
  says boolean;
  has_whole boolean;
  has_part boolean;
begin
  select array_agg(o.id) into seen from {outbox.table} as o where {outbox.of_link};
  if seen is null then return 0; end if;
  select o.kind into last from {outbox.table} as o where o.id = any (seen) order by o.id desc limit 1;
  select {self._record(whole, "s")}, {self.says("s")} as says, {self.empty("s")} as empty into mine
  from {whole.real} as s where {of_whole};
  has_whole := found;
  if has_whole then says := mine.says; end if;
  select {self._record(part, "t")} into theirs from {part.real} as t where {of_part};
  has_part := found;
  if not has_whole then
    -- Where replicas fire no cascade.
    if {cascades} then
      {self._locked(part, "update")}
      delete from {part.real} as x where {part.linked("x", outbox.arguments)};
    end if;
  elsif {part_decides}{self._contradicted()} then
    if {differing(self._fields("mine"), self._fields("theirs"), exact=True)} then
      {self._locked(whole, "no key update")}
      update {whole.real} as x set {self._set(whole, "theirs")} where {whole.linked("x", outbox.arguments)};
    end if;
  elsif not says then
    {self._gone()}
  elsif not has_part then
    if not {outbox.function("make")}({", ".join((*outbox.arguments, self._fields("mine")))}) then return 0; end if;
  elsif {differing(self._fields("mine"), self._fields("theirs"), exact=True)} then
    {self._locked(part, "no key update")}
    update {part.real} as x set {self._set(part, "mine")} where {part.linked("x", outbox.arguments)};
  end if;
  delete from {outbox.table} as o where o.id = any (seen);
  get diagnostics carried = row_count;
  return carried;
end""",
        )

    def _contradicted(self) -> str:
        """What the part cannot hold, the old shape would have refused, too: it is taken back."""
        return " or (has_part and not says)" if self.needed and not self.merges else ""

    def _gone(self) -> str:
        if self.when_null == "row":
            return "null;"
        return f"""\
if has_part and mine.empty then
      {self._locked(self.part, "update")}
      delete from {self.part.real} as x where {self.part.linked("x", self.outbox.arguments)};
    end if;"""

    def _locked(self, side: Side, strength: str) -> str:
        """Lock the row without waiting, or leave the notes; whoever had it before us has left a newer one."""
        return f"""\
perform from {side.real} as x where {side.linked("x", self.outbox.arguments)} for {strength} skip locked;
      if not found or exists (
          select from {self.outbox.table} as o where {self.outbox.of_link} and o.id <> all (seen)) then
        return 0;
      end if;"""

    def _set(self, side: Side, record: str) -> str:
        pairs = zip(side.columns, self._values, strict=True)
        return ", ".join(f"{quote(column)} = {record}.{name}" for column, name in pairs)
