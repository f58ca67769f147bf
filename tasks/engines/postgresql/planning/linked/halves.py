"""A row in two halves: columns that stand in two tables with one key, each following what is written into the other.

The part refers to the whole by a foreign key with ON DELETE and ON UPDATE CASCADE, from the beginning: a row of the
part never stands alone, goes with the row of the whole, and follows its key, in the statement that does so. What
triggers note is the rest: `s` a row of the whole was written, `t` one of the part, and which columns of it changed; an
INSERT or a DELETE says something about all of them. The last note that names a column decides it, so that of two
writers the one that wrote it last has it, and those who wrote different columns of one row have both.

- The whole decides: the part gets its values, or its row. Whether NULLs only are a row is the spec's to say.
- The part decides: the whole gets its values; where the row of the part was deleted, NULLs. Before the swap nobody
  has a reason to delete one, and it is made again.
- The part can have columns that are NOT NULL and that the whole has not: a new application inserts a row of the whole
  first. A whole with a NULL there says nothing. Of a split the NULL is taken back where the part has a value, and of a
  merge before the swap; after it, it is what the new shape allows, so it stays, and so does what the part has.

Whoever carries locks the row that he changes, and then looks whether a newer note has come: its writer had that row
before. A row of the part that somebody else is just inserting is not waited for: the note stays.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.engines.postgresql.planning.linked.pair import Pair
from tasks.engines.postgresql.planning.linked.side import Side, create_triggers, drop_triggers
from tasks.model.names import quote
from tasks.model.plan import differing


@dataclass(frozen=True, kw_only=True)
class Halves(Pair):
    """The two places of the columns, and how they follow each other."""

    whole: Side
    """Its key is the link of the outbox."""
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
            self.outbox.define("part", "", "trigger", self._noting_part()),
            *self.functions(swapped=False),
            *create_triggers(self.outbox, self.whole, "whole"),
            *create_triggers(self.outbox, self.part, "part"),
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it."""
        types = ", ".join((*self.outbox.types, *self.types, "bigint[]"))
        return (
            *drop_triggers(self.outbox, self.whole, "whole"),
            *drop_triggers(self.outbox, self.part, "part"),
            *self.outbox.drop(),
            *(f"drop function if exists {self._value_name(number)}" for number in self._numbers if self.merges),
            f"drop function if exists {self.outbox.function('make')}({types})",
        )

    def functions(self, *, swapped: bool) -> tuple[str, ...]:
        """Return the functions that differ before and after the swap."""
        whole = self.outbox.define("whole", "", "trigger", self._noting_whole(swapped=swapped))
        return (whole, self._carry(swapped=swapped))

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
        """Make a row of the part; false where somebody else makes it or wrote it since, and where that cannot be."""
        typed = ", ".join(f"{name} {type_name}" for name, type_name in zip(self._values, self.types, strict=True))
        columns = ", ".join(quote(one) for one in (*self.part.link, *self.part.columns))
        return self.outbox.define_make(
            f"{self.outbox.parameters}, {typed}, seen bigint[]",
            "boolean",
            f"""\
insert into {self.part.real} ({columns}) values ({", ".join((*self.outbox.arguments, *self._values))})
    on conflict do nothing;
    if found and {self.outbox.newer} then raise exception 'somebody else has just written it'; end if;
    return found;""",
            late="false",
        )

    def _changed(self, side: Side) -> str:
        """Which columns an UPDATE changed, by their numbers: the rest of the row is not what it says."""
        named = (f"case when {side.changed((column,))} then '{n}' end" for n, column in enumerate(side.columns, 1))
        return f"pg_catalog.array_remove(array[{', '.join(named)}], null)"

    def _noting_whole(self, *, swapped: bool) -> str:
        """A key that changes takes along what is still to be said; where replicas fire no cascade, the row, too."""
        side, outbox = self.whole, self.outbox
        old, new = side.values("old"), side.values("new")
        left = f"exists (select from {self.part.real} as t where {self.part.linked('t', old)})"
        wanted = [f"{value} is not null" for value in new] + ([] if self.merges else [f"not {left}"])
        along = outbox.along(old, new, "".join(f" and {one}" for one in wanted))
        # The old shape decides what nothing else is said about: a backfill may already be past the new key.
        base = outbox.note("s", new, "null")
        if self.merges:
            there = f"exists (select from {self.part.real} as t where {self.part.linked('t', new)})"
            base = "" if swapped else f"if {there} then {outbox.note('t', new, 'null')} end if;"
        return f"""\
begin
  if tg_op = 'INSERT' then
    if {self.says("new")} then
      {outbox.note("s", new, "null")}
    end if;
  elsif tg_op = 'DELETE' then
    {outbox.note("s", old, "null")}
  elsif {side.changed((*side.link, *side.key))} then
    {base}
    {along}
    if {side.changed(side.columns)} then
      {outbox.note("s", new, self._changed(side))}
    end if;
    if {side.changed(side.link)} then
      {outbox.note("s", old, "null")}
    end if;
  else
    {outbox.note("s", new, self._changed(side))}
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
    {outbox.note("t", new, self._changed(side))}
  end if;
  return null;
end"""

    def _carry(self, *, swapped: bool) -> str:
        outbox, whole, part = self.outbox, self.whole, self.part
        of_whole, of_part = whole.linked("s", outbox.arguments), part.linked("t", outbox.arguments)
        # Rows of the old shape are not ours to delete.
        cascades = "false" if self.merges else "has_part and last = 's'"
        # Before the swap a merge may not have filled the whole yet: then its NULLs are not what anybody said.
        gone = f"'s' = any (deciders) and {self._empty('kept' if swapped else 'given')}"
        if self.when_null == "row":
            gone = "false"
        return outbox.define(
            "carry",
            outbox.parameters,
            "bigint",
            f"""\
declare
  carried bigint;
  seen bigint[];
  deciders text[];
  last text;
  mine record;
  theirs record;
  kept record;
  given record;
  has_whole boolean;
  has_part boolean;
begin
  select array_agg(o.id) into seen from {outbox.table} as o where {outbox.of_link};
  if seen is null then return 0; end if;
  select o.kind into last from {outbox.table} as o where o.id = any (seen) order by o.id desc limit 1;
  select array_agg((
    select o.kind from {outbox.table} as o
    where o.id = any (seen) and (o.key is null or c.number::text = any (o.key)) order by o.id desc limit 1
  ) order by c.number) into deciders from generate_series(1, {len(self.types)}) as c (number);
  select {self._record(whole, "s")} into mine from {whole.real} as s where {of_whole};
  has_whole := found;
  select {self._record(part, "t")} into theirs from {part.real} as t where {of_part};
  has_part := found;
  if not has_whole then
    -- Where replicas fire no cascade.
    if {cascades} then
      {self._locked(part, "update")}
      delete from {part.real} as x where {part.linked("x", outbox.arguments)};
    end if;
  else
    {self._old_shape(swapped=swapped)}
    select {self._chosen("t", "theirs", "mine")} into kept;
    select {self._chosen("s", "mine", "theirs")} into given;
    if {differing(self._fields("mine"), self._fields("kept"), exact=True)} then
      {self._locked(whole, "no key update")}
      update {whole.real} as x set {self._set(whole, "kept")} where {whole.linked("x", outbox.arguments)};
    end if;
    if not has_part then
      if 's' = any (deciders) and {self._says_kept} then
        if not {outbox.function("make")}({", ".join((*outbox.arguments, self._fields("kept"), "seen"))}) then
          return 0;
        end if;
      end if;
    elsif {gone} then
      {self._locked(part, "update")}
      delete from {part.real} as x where {part.linked("x", outbox.arguments)};
    elsif {differing(self._fields("theirs"), self._fields("given"), exact=True)} then
      {self._locked(part, "no key update")}
      update {part.real} as x set {self._set(part, "given")} where {part.linked("x", outbox.arguments)};
    end if;
  end if;
  delete from {outbox.table} as o where o.id = any (seen);
  get diagnostics carried = row_count;
  return carried;
end""",
        )

    @property
    def _needed_values(self) -> tuple[str, ...]:
        return tuple(self._values[self.whole.columns.index(column)] for column in self.needed)

    def _old_shape(self, *, swapped: bool) -> str:
        """What is decided otherwise than by the last note: until the swap, and of a split also after it."""
        found = []
        if not swapped and not self.merges:
            # Nobody has a reason yet to delete a row that a split has made.
            found.append("if not has_part then deciders := pg_catalog.array_replace(deciders, 't', 's'); end if;")
        if not swapped and self.merges:
            # The backfill leaves a row alone that has anything: it is filled here, with all that nobody wrote.
            found.append("if has_part then deciders := pg_catalog.array_replace(deciders, null, 't'); end if;")
        if not swapped or not self.merges:
            # What the part cannot hold, the old shape would have refused, too: it is taken back.
            found += [
                f"if has_part and mine.{value} is null then deciders[{value[1:]}] := 't'; end if;"
                for value in self._needed_values
            ]
        return "\n    ".join(found)

    def _chosen(self, kind: str, one: str, other: str) -> str:
        """The columns of `one` that a note of a kind decides, and of the `other` row the rest."""
        held = self._needed_values if one == "mine" else ()
        return ", ".join(
            f"case when deciders[{number}] = '{kind}'{f' and mine.{value} is not null' if value in held else ''}"
            f" then {one}.{value} else {other}.{value} end as {value}"
            for number, value in enumerate(self._values, 1)
        )

    @property
    def _says_kept(self) -> str:
        wanted = [f"kept.{value} is not null" for value in self._needed_values]
        if self.when_null == "no_row":
            wanted.append(f"not {self._empty('kept')}")
        return " and ".join(wanted) or "true"

    def _empty(self, record: str) -> str:
        return f"num_nonnulls({self._fields(record)}) = 0"

    def _locked(self, side: Side, strength: str) -> str:
        """Lock the row without waiting, or leave the notes; whoever had it before us has left a newer one."""
        return f"""\
perform from {side.real} as x where {side.linked("x", self.outbox.arguments)} for {strength} skip locked;
      if not found or {self.outbox.newer} then return 0; end if;"""

    def _set(self, side: Side, record: str) -> str:
        pairs = zip(side.columns, self._values, strict=True)
        return ", ".join(f"{quote(column)} = {record}.{name}" for column, name in pairs)
