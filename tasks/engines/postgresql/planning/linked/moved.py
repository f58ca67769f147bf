"""A column in two tables at once, each following what is written into the other.

Of a copy the source always decides. Of a column that moves it decides before the swap: a row of the target has what
its rows of the source say, unless an application already writes the target. After the swap it is the other way round.
Which of two writes came last is told by the order of their notes, which are drawn while the row is locked.

Kinds of notes: `s` a row of the source was written, `t` one of the target; `f` a new row of the target wants its
value from the source, `g` one of the source from the target, for whoever inserted it does not know the column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.engines.postgresql.planning.linked.pair import Pair
from tasks.engines.postgresql.planning.linked.side import Side, create_triggers, drop_triggers
from tasks.model.names import quote
from tasks.model.plan import differing


@dataclass(frozen=True, kw_only=True)
class Moved(Pair):
    """The two places of a column, and how they follow each other."""

    source: Side
    target: Side
    type: str
    when_differ: Literal["refuse", "min", "max"]
    lossy: bool
    """Values of the source without a row in the target are given up."""
    copies: bool = False
    """The source keeps its column, and stays what decides."""

    def create(self) -> tuple[str, ...]:
        """Return the statements that begin to keep the two in step. Both tables must be locked against writers."""
        return (
            *self.outbox.create(),
            self._value(),
            *self.functions(swapped=False),
            *create_triggers(self.outbox, self.source, "source"),
            *create_triggers(self.outbox, self.target, "target"),
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it."""
        return (
            *drop_triggers(self.outbox, self.source, "source"),
            *drop_triggers(self.outbox, self.target, "target"),
            *self.outbox.drop(),
            f"drop function if exists {self.outbox.function('value')}({', '.join(self.outbox.types)})",
        )

    def functions(self, *, swapped: bool) -> tuple[str, ...]:
        """Return the functions that differ before and after the swap."""
        swapped = swapped and not self.copies
        note_source = _SOURCE_AFTER if swapped else _SOURCE_BEFORE
        note_target = _TARGET_AFTER if swapped else _COPY if self.copies else _TARGET_BEFORE
        return (
            self.outbox.define("source", "", "trigger", self._noting(self.source, note_source)),
            self.outbox.define("target", "", "trigger", self._noting(self.target, note_target)),
            self._carry(swapped=swapped),
        )

    def fill(self) -> str:
        """Return the expression that fills a row of the target, in the names of its columns."""
        return f"{self.outbox.function('value')}({', '.join(quote(column) for column in self.target.link)})"

    def of_source(self, arguments: Sequence[str], into: str = "") -> str:
        """Return the query for the value that the rows of the source give: one row, or none."""
        value, where = self.source.value("s"), self.source.linked("s", arguments)
        read = f"{into} from {self.source.real} as s where {where}"
        if self.when_differ == "refuse":
            return f"select {value}{read} limit 1"
        return f"select {self.when_differ}({value}){read} having count(*) > 0"

    def _value(self) -> str:
        """For the backfill: nobody carries the link meanwhile, and the source is read after that is sure."""
        arguments = self.outbox.arguments
        return self.outbox.define(
            "value",
            self.outbox.parameters,
            self.type,
            f"""\
begin
  perform pg_catalog.pg_advisory_xact_lock({self.outbox.lock(arguments)});
  return ({self.of_source(arguments)});
end""",
        )

    def _noting(self, side: Side, template: str) -> str:
        old, new = side.values("old"), side.values("new")
        notes = {f"{kind}_new": self.outbox.note(kind, new, side.row_key("new")) for kind in "stfg"}
        mine = "'s', 'g'" if side is self.source else "'t', 'f'"
        # A row that gets another key within the transaction is still to be found.
        rekey = (
            f"update {self.outbox.table} set key = {side.row_key('new')} where key = {side.row_key('old')}"
            f" and kind in ({mine}) and writer = pg_catalog.pg_current_xact_id();"
        )
        tied = " and ".join(f"{value} is not null" for value in self.target.values("t"))
        emptied = (
            f"insert into {self.outbox.table} (kind, {', '.join(self.outbox.links)})"
            f" select distinct 's', {', '.join(self.target.values('t'))} from {self.target.real} as t"
            f" where {self.target.value('t')} is not null and {tied};"
        )
        same = " and ".join(f"x.{quote(column)} = new.{quote(column)}" for column in side.key)
        return template.format(
            **notes,
            s_old=self.outbox.note("s", old, "null"),
            rekey=rekey,
            emptied=emptied,
            column_changed=side.changed((side.column,)),
            link_changed=side.changed(side.link),
            is_null=f"{side.value('new')} is null",
            unlinked=" or ".join(f"{value} is null" for value in new),
            clear=f"update {side.real} as x set {quote(side.column)} = null"
            f" where {same} and {side.value('x')} is not null;",
        )

    def _carry(self, *, swapped: bool) -> str:
        """Only rows that change are locked: of many that belong together, a new one must not touch the others."""
        outbox, source, target = self.outbox, self.source, self.target
        siblings = ""
        if swapped and not source.alone and self.when_differ == "refuse":
            siblings = f"\n{self._set(source, _differs(source))}"
        return outbox.define(
            "carry",
            outbox.parameters,
            "bigint",
            f"""\
declare
  carried bigint;
  seen bigint[];
  last record;
  places tid[];
  value {self.type};
begin
  select array_agg(o.id) into seen from {outbox.table} as o where {outbox.of_link};
  if seen is null then return 0; end if;
  select o.kind, o.key into last from {outbox.table} as o
  where o.id = any (seen) and o.kind in ('s', 't') order by o.id desc limit 1;
  if last.kind = 's' then
    {self._from_source(swapped)}
{self._set(target, _differs(target))}{siblings}
    end if;
  elsif last.kind = 't' then
    {self._from_target()}
    if found then
{self._set(source, _differs(source))}
    end if;
  end if;
{self._fill_new()}
  delete from {outbox.table} as o where o.id = any (seen);
  get diagnostics carried = row_count;
  return carried;
end""",
        )

    def _set(self, side: Side, condition: str) -> str:
        """Set rows that nobody else has locked, or leave the notes for later."""
        rows = f"{side.real} as x where {side.linked('x', self.outbox.arguments)} and {condition}"
        return f"""\
      select array_agg(free.place) into places
      from (select x.ctid as place from {rows} for no key update skip locked) as free;
      if (select count(*) from {rows}) > coalesce(cardinality(places), 0) then return 0; end if;
      -- Written and committed while we came to lock it: that note decides.
      if {self.outbox.newer} then return 0; end if;
      update {side.real} as x set {quote(side.column)} = value where x.ctid = any (places);"""

    def _from_source(self, swapped: bool) -> str:
        """After the swap only a row that is there has something to say; before it, no row says NULL."""
        arguments = self.outbox.arguments
        if not swapped:
            return f"value := ({self.of_source(arguments)});\n    if true then"
        if self.source.alone or self.when_differ != "refuse":
            return f"{self.of_source(arguments, ' into value')};\n    if found then"
        return (
            f"select {self.source.value('s')} into value from {self.source.real} as s"
            f" where {self.source.linked('s', arguments)} and {self.source.row_key('s')} = last.key;\n    if found then"
        )

    def _from_target(self) -> str:
        where = self.target.linked("t", self.outbox.arguments)
        if not self.target.alone:
            where += f" and {self.target.row_key('t')} = last.key"
        return f"select {self.target.value('t')} into value from {self.target.real} as t where {where};"

    def _fill_new(self) -> str:
        """Rows that were inserted without the column; of several, none says what the one they belong to has."""
        outbox, source, target = self.outbox, self.source, self.target
        wanted = f"exists (select from {outbox.table} as o where o.id = any (seen) and o.kind = '{{}}')"
        keys = f"(select o.key from {outbox.table} as o where o.id = any (seen) and o.kind = '{{}}')"
        empty = _differs(target) if self.copies else f"{target.value('x')} is null"
        filled = f"""\
  if {wanted.format("f")} then
      value := ({self.of_source(outbox.arguments)});
{self._set(target, f"{empty} and {target.row_key('x')} in {keys.format('f')}")}
  end if;"""
        if not target.alone or self.copies:
            return filled
        return f"""\
{filled}
  if {wanted.format("g")} then
    select {target.value("t")} into value from {target.real} as t where {target.linked("t", outbox.arguments)};
    if found then
{self._set(source, f"{_differs(source)} and {source.row_key('x')} in {keys.format('g')}")}
    end if;
  end if;"""


def _differs(side: Side) -> str:
    return differing(side.value("x"), "value", exact=True)


_SOURCE_BEFORE = """\
begin
  if tg_op = 'TRUNCATE' then
    {emptied}
    return null;
  end if;
  if tg_op = 'INSERT' then
    {s_new}
    return null;
  elsif tg_op = 'DELETE' then
    {s_old}
    return null;
  end if;
  if {link_changed} then
    {s_old}
  end if;
  if {column_changed} or {link_changed} then
    {s_new}
  else
    {rekey}
  end if;
  return null;
end"""
_SOURCE_AFTER = """\
begin
  if tg_op = 'INSERT' then
    if {is_null} then
      {g_new}
    else
      {s_new}
    end if;
  elsif tg_op = 'UPDATE' then
    if {column_changed} then
      {s_new}
    elsif {link_changed} then
      {g_new}
    else
      {rekey}
    end if;
  end if;
  return null;
end"""
_TARGET_BEFORE = """\
begin
  if tg_op = 'INSERT' then
    if {is_null} then
      {f_new}
    else
      {t_new}
    end if;
    return null;
  end if;
  if {column_changed} then
    {t_new}
  elsif {link_changed} then
    {s_new}
    -- No note can tell of a row that belongs to none; the row itself is locked already.
    if {unlinked} then {clear} end if;
  else
    {rekey}
  end if;
  return null;
end"""
_TARGET_AFTER = """\
begin
  if tg_op = 'INSERT' then
    if {is_null} then
      {f_new}
    else
      {t_new}
    end if;
    return null;
  end if;
  if {column_changed} or {link_changed} then
    {t_new}
  else
    {rekey}
  end if;
  return null;
end"""
_COPY = """\
begin
  {f_new}
  if {unlinked} then {clear} end if;
  return null;
end"""
