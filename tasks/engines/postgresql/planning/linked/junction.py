"""References of a row in two places: in a column, as one, an array or a list, and as rows of a table between the two.

The junction refers to the table by a foreign key with ON DELETE and ON UPDATE CASCADE, and to the other table, too: it
never keeps anybody from deleting or rekeying a row. Where replicas fire no cascade, the trigger does its work. What
triggers note is the rest: a reference, and where it was written: `s` in the column, `t` in the junction. The last note
of a reference says which place has it right, so that of two writers of one reference the later one has it, and those
who wrote different references of one row have both. Before the swap nobody has a reason to delete a row of the
junction, and it is made again; but for those who have a version of their own.

A column that holds one of many keeps what it has as long as that is a reference of the row; then it gets the newest one
that was added, or the smallest. So an old application sees one of them, and writes that one: what it sets to NULL
or to another value goes, and the rest, which it cannot see, stays.

A reference that follows a new key of the other table is no write: the place that had the old one right has the new one.

Whoever carries locks the row of the table first, without waiting, and a row of the junction that he deletes, too; what
he inserts there he waits for no longer than a moment, or leaves the notes.
"""

from dataclasses import dataclass
from typing import Literal

from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.linked.pair import Pair
from tasks.engines.postgresql.planning.linked.side import Side, create_triggers, drop_triggers
from tasks.model.names import quote

BY_BYTES = ' collate pg_catalog."C"'
"""References are the same texts, in one order, whatever the collations of the two columns are."""
WHOLE_NUMBERS = {"smallint", "integer", "bigint"}
_WHITE = "e' \\t\\r\\n'"
Holds = Literal["one", "array", "list"]
"""What a value of the column is: one reference, or several in an array or in a text."""


@dataclass(frozen=True, kw_only=True)
class Junction(Pair):
    """The two places of the references, and how they follow each other."""

    whole: Side
    """The table, with the column; its key is the link of the outbox."""
    part: Side
    """The junction: its column is the reference, its link what refers to the table, its key both."""
    type: str
    """Of a reference."""
    collation: str
    """The clause with that of a reference, or nothing."""
    column_type: str
    holds: Holds
    other: str
    """The table that is referred to, quoted and qualified, and its column."""
    other_column: str
    other_name: str
    other_generated: bool
    delimiter: str = ""
    never_null: bool = False
    """The column was NOT NULL: an empty array or list stands for no reference."""
    versions: bool = False
    """New applications have a version of their own, and write the junction before the swap."""

    def create(self) -> tuple[str, ...]:
        """Return the statements that begin to keep the two in step. Both tables must be locked against writers."""
        outbox = self.outbox
        keys = ", ".join(f"{name} {type_name}" for name, type_name in zip(outbox.links, outbox.types, strict=True))
        return (
            *self.outbox.create(),
            f"create table {self._beyond} ({keys}, primary key ({', '.join(self.outbox.links)}))",
            self._make(),
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
            f"drop function if exists {self.outbox.function('make')}({', '.join((*self.outbox.types, 'text'))})",
            f"drop table if exists {self._beyond}",
        )

    @property
    def others(self) -> tuple[str, ...]:
        """The table that is referred to."""
        return (self.other,)

    def give_up(self) -> tuple[tuple[str, ...], str]:
        """As when the swap is undone: new applications may write the junction before it, too."""
        return self.swap_back(), f"select {self.outbox.drain}"

    def swap_back(self) -> tuple[str, ...]:
        """Return the statements that end it for a rollback: they carry what waits, and fail where a reference is lost.

        All three tables must be locked: then only rows are looked at of which a write still waits, and those that were
        known to have more than the column can say.
        """
        links = ", ".join(self.outbox.links)
        o_links = tuple(f"o.{link}" for link in self.outbox.links)
        message = f"rows of {self.part.full_name} say what {self.whole.full_name}.{self.whole.column} cannot hold"
        return (
            f"""\
do $held$
begin
  -- Taking back the swap has ended it already.
  if pg_catalog.to_regclass({literal(self.outbox.table)}) is null then return; end if;
  perform {self.outbox.function("carry_all")}(null, false);
  if exists (
    select from (select {links} from {self.outbox.table} union select {links} from {self._beyond}) as o
    join {self.part.real} as t on {self.part.linked("t", o_links)}
    join {self.whole.real} as s on {self.whole.linked("s", o_links)}
    where {self.part.value("t")}::text <> all ({self.elements("s")})
  ) then
    raise exception using message = {literal(message)}, hint = 'Delete those rows, then roll back again.';
  end if;
end
$held$""",
            *self.drop(),
        )

    @property
    def _beyond(self) -> str:
        """The keys of rows that have more references than the column can say; a write that waits can add to them."""
        return f'changeover."beyond_{self.outbox.tag}"'

    def _remember(self) -> str:
        """Keep that up to date. Nobody else carries the notes of this row meanwhile."""
        if self.holds == "array":
            return ""
        rows = f"select count(*) from {self.part.real} as t where {self.part.linked('t', self.outbox.arguments)}"
        more = f"({rows}) > 1"
        if self.holds == "list":
            more = f"({rows} and not {self.fits(self.part.value('t') + '::text')}) > 0"
        return f"""\
if {more} then
    insert into {self._beyond} values ({", ".join(self.outbox.arguments)}) on conflict do nothing;
  else
    delete from {self._beyond} as o where {self.outbox.of_link};
  end if;"""

    def elements(self, alias: str) -> str:
        """Return the references of a row of the table as an array of texts, which may be empty."""
        column = self.whole.value(alias)
        if self.holds == "one":
            return f"(array_remove(array[{column}::text], null){BY_BYTES})"
        if self.holds == "array":
            values = f"unnest({column}::text[]) as x (e) where x.e is not null"
            return f"(coalesce((select array_agg(x.e) from {values}), '{{}}'){BY_BYTES})"
        parts = f"unnest(string_to_array({column}::text, {literal(self.delimiter)})) as x (e)"
        trimmed = f"btrim(x.e, {_WHITE})"
        return f"(coalesce((select array_agg({trimmed}) from {parts} where {trimmed} <> ''), '{{}}'){BY_BYTES})"

    def fits(self, element: str) -> str:
        """Condition that the column can hold a reference beside others."""
        if self.holds != "list":
            return "true"
        # A delimiter of several signs can begin in the value before it, and so be found too early.
        delimiter = literal(self.delimiter)
        apart = f"string_to_array({element} || {delimiter} || {element}, {delimiter}) = array[{element}, {element}]"
        return f"({apart} and btrim({element}, {_WHITE}) = {element} and {element} <> '')"

    def known(self, element: str) -> str:
        """Condition that a reference names a row of the other table, `o`, as an index finds it; no text fails it."""
        column = f"o.{quote(self.other_column)}"
        if self.holds != "list":
            return f"{column} = {element}::{self.type}"
        same = f"{column}::text = {element}{BY_BYTES}"
        if self.type.startswith(("text", "character")):
            collation = self.collation or ' collate pg_catalog."default"'
            return f"{column} = ({element}::{self.type}{collation}) and {same}"
        if self.type in WHOLE_NUMBERS:
            within = f"case when {element}::numeric between {-(2**63)} and {2**63 - 1} then {element}::bigint end"
            return f"{column} = case when {element} ~ '^-?[0-9]{{1,19}}$' then {within} end and {same}"
        if self.type == "uuid":
            form = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
            return f"{column} = case when {element} ~ '{form}' then {element}::uuid end and {same}"
        return same

    @property
    def _reference(self) -> str:
        return quote(self.part.column)

    def _make(self) -> str:
        """Make a row of the junction; false where somebody else is making it, and where it refers to nothing."""
        columns = ", ".join(quote(one) for one in (*self.part.link, self.part.column))
        return self.outbox.define_make(
            f"{self.outbox.parameters}, element text",
            "boolean",
            f"""\
-- Written in another way, or cut off, it would be another reference than that which notes and column name.
    if element::{self.type}::text <> element then return false; end if;
    insert into {self.part.real} ({columns}) values ({", ".join(self.outbox.arguments)}, element::{self.type})
    on conflict do nothing;
    return true;""",
            late="false",
            refused="\n    when foreign_key_violation or data_exception then return false;",
        )

    def _notes(self, kind: str, values: tuple[str, ...], elements: str, where: str = "true") -> str:
        """Return the statement that leaves a note for each of some references."""
        return (
            f"insert into {self.outbox.table} (kind, {', '.join(self.outbox.links)}, key)"
            f" select '{kind}', {', '.join(values)}, array[x.e] from unnest({elements}) as x (e) where {where};"
        )

    def _last(self, side: Side, reference: str) -> str:
        """Return the kind of the last note of a reference that the other table does not have any more, or NULL.

        Its row there got another key, and what refers to it follows: nothing else takes away what is referred to.
        """
        known = f"select from {self.other} as x where x.{quote(self.other_column)} = {side.value('old')}"
        return self.last_note(side.values("new"), reference, f" and not exists ({known})")

    def last_note(self, link: tuple[str, ...], reference: str, where: str = "") -> str:
        """Return the kind of the last note of a reference, or NULL."""
        return (
            f"(select o.kind from {self.outbox.table} as o where {self.outbox.of(link)}"
            f" and o.key = array[{reference}]{where} order by o.id desc limit 1)"
        )

    def _noting_whole(self) -> str:
        """A key that changes takes along what is still to be said; a backfill may already be past the new one."""
        side, outbox = self.whole, self.outbox
        old, new = side.values("old"), side.values("new")
        moved = ", ".join(f"{quote(mine)} = {value}" for mine, value in zip(self.part.link, new, strict=True))
        left = f"{self.part.real} as x"
        empty = ""
        if self.never_null and self.holds != "one":
            empty = f"\n  if {side.value('new')} is null then {outbox.note('s', new, 'null')} end if;"
        follows = ""
        if self.holds == "one":
            last = self._last(side, "before[1]")
            follows = f"""
    if cardinality(before) > 0 and before <> given and cardinality(given) > 0 and {last} = 't' then
      {outbox.note("t", new, "given")}
      return null;
    end if;"""
        return f"""\
declare
  given text[] := '{{}}';
  before text[] := '{{}}';
begin
  if tg_op = 'DELETE' then
    delete from {left} where {self.part.linked("x", old)};
    return null;
  end if;
  given := {self.elements("new")};
  if tg_op = 'UPDATE' then
    before := {self.elements("old")};
    if {side.changed(side.link)} then
      update {left} set {moved} where {self.part.linked("x", old)};
      {self._notes("s", new, "before || given")}
      {outbox.along(old, new)}
    end if;{follows}
  end if;
  {self._notes("s", new, "before", "x.e <> all (given)")}
  {self._notes("s", new, "given", "x.e <> all (before)")}{empty}
  return null;
end"""

    def _noting_part(self) -> str:
        """A key that follows that of the table is no write: the table has no row with the old one any more."""
        side, outbox = self.part, self.outbox
        old, new = side.values("old"), side.values("new")
        was = f"{side.value('old')}::text"
        gone, come = f"array[{was}]", f"array[{side.value('new')}::text]"
        links = ", ".join(self.whole.shown("s", self.whole.link))
        taken = f"{self._last(side, was)} = 's'"
        if self.holds != "one":
            # An array does not follow by itself.
            rows = f"{self.whole.real} as s where {self.whole.linked('s', new)}"
            taken += f" and not exists (select from {rows} and {was} = any ({self.elements('s')}))"
        return f"""\
begin
  if tg_op = 'UPDATE' and {side.changed((side.column,))} and {taken} then
    {outbox.note("s", new, come)}
    return null;
  end if;
  if tg_op = 'TRUNCATE' then
    insert into {outbox.table} (kind, {", ".join(outbox.links)}, key)
    select 't', {links}, array[y.e] from {self.whole.real} as s, unnest({self.elements("s")}) as y (e);
    return null;
  end if;
  if tg_op = 'DELETE' or tg_op = 'UPDATE' and exists (
    select from {self.whole.real} as s where {self.whole.linked("s", old)}
  ) then
    {outbox.note("t", old, gone)}
  end if;
  if tg_op = 'INSERT' or tg_op = 'UPDATE' and (
    {side.changed((side.column,))} or exists (
      select from {self.whole.real} as s where {self.whole.linked("s", old)}
    )
  ) then
    {outbox.note("t", new, come)}
  end if;
  return null;
end"""

    def functions(self, *, swapped: bool) -> tuple[str, ...]:
        """Return the function that differs before and after the swap."""
        return (self._carry(swapped=swapped),)

    def _carry(self, *, swapped: bool) -> str:
        outbox, whole, part = self.outbox, self.whole, self.part
        of_whole, of_part = whole.linked("s", outbox.arguments), part.linked("t", outbox.arguments)
        going = (
            f"{part.real} as x where {part.linked('x', outbox.arguments)} and x.{self._reference}::text = any (gone)"
        )
        return outbox.define(
            "carry",
            outbox.parameters,
            "bigint",
            f"""\
declare
  carried bigint;
  seen bigint[];
  has_row boolean;
  mine text[];
  theirs text[];
  there text[];
  gone text[];
  element text;
  left_out boolean := false;
  written {self.column_type};
begin
  if not exists (select from {outbox.table} as o where {outbox.of_link}) then return 0; end if;
  -- Whoever writes the row has it locked; what he says is seen afterwards.
  perform from {whole.real} as s where {of_whole} for no key update skip locked;
  has_row := found;
  if not has_row and exists (select from {whole.real} as s where {of_whole}) then return 0; end if;
  select array_agg(o.id) into seen from {outbox.table} as o where {outbox.of_link};
  if has_row then
    select {whole.value("s")}, {self.elements("s")} into written, mine from {whole.real} as s where {of_whole};
    select coalesce(array_agg({part.value("t")}::text), '{{}}') into theirs from {part.real} as t where {of_part};
    select
      coalesce(array_agg(j.e order by j.id desc) filter (where j.stays), '{{}}'),
      coalesce(array_agg(j.e) filter (where not j.stays), '{{}}')
    into there, gone from (
      select l.e, l.id, case l.kind when 's' then l.e = any (mine)
        else l.e = any (theirs){self._again(swapped)} end as stays
      from (
        select distinct on (o.key[1]) o.key[1] as e, o.kind, o.id from {outbox.table} as o
        where o.id = any (seen) and o.key is not null order by o.key[1], o.id desc
      ) as l
    ) as j;
    if gone && theirs then
      perform from {going} for update skip locked;
      get diagnostics carried = row_count;
      if carried < (select count(*) from {going}) or {outbox.newer} then return 0; end if;
      delete from {going};
    end if;
    {self._write()}
    foreach element in array there loop
      if element <> all (theirs) and not {outbox.function("make")}({", ".join(outbox.arguments)}, element) then
        left_out := true;
      end if;
    end loop;
    if left_out then return 0; end if;
  end if;
  {self._remember()}
  delete from {outbox.table} as o where o.id = any (seen);
  get diagnostics carried = row_count;
  return carried;
end""",
        )

    def _again(self, swapped: bool) -> str:
        """Return which references are made again although they were taken out of the junction, as a clause."""
        if swapped:
            return ""
        if not self.versions:
            return " or l.e = any (mine)"
        # What an application took out goes; but not what went with a row of the other table, or the last of a NOT NULL.
        kept = f"not exists (select from {self.other} as o where {self.known('l.e')})"
        if self.never_null and self.holds == "one":
            kept += " or cardinality(theirs) = 0"
        return f" or l.e = any (mine) and ({kept})"

    def _write(self) -> str:
        """Let the column say what it can of what there is."""
        column = quote(self.whole.column)
        of_whole = self.whole.linked("x", self.outbox.arguments)
        update = f"update {self.whole.real} as x set {column} ="
        if self.holds == "one":
            smallest = (
                f"(select y.e from unnest(theirs) as y (e) where y.e <> all (gone) order by y.e::{self.type} limit 1)"
            )
            return f"""\
if written is null or written::text = any (gone) then
      element := coalesce(there[1], {smallest});
      if element is distinct from written::text then
        if element is not null then
          -- The foreign key would wait for whoever is deleting it.
          perform from {self.other} as x where x.{quote(self.other_column)} = element::{self.type}
          for key share skip locked;
          if not found then return 0; end if;
        end if;
        {update} element::{self.column_type} where {of_whole};
      end if;
    end if;"""
        kept = f"""\
(
        select array_agg(y.e order by y.place, y.n) from (
          select z.e, 0 as place, z.n from unnest(mine) with ordinality as z (e, n) where z.e <> all (gone)
          union all
          select z.e, 1, -z.n from unnest(there) with ordinality as z (e, n)
          where z.e <> all (mine) and {self.fits("z.e")}
        ) as y
      )"""
        if self.holds == "array":
            made = f"coalesce({kept}, '{{}}')::{self.column_type}"
        else:
            made = f"coalesce(array_to_string({kept}, {literal(self.delimiter)}), '')"
        null = " or written is null" if self.never_null else ""
        return f"""\
if gone && mine or exists (
      select from unnest(there) as y (e) where y.e <> all (mine) and {self.fits("y.e")}
    ){null} then
      {update} {made} where {of_whole};
    end if;"""
