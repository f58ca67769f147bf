"""A column and a reference to a table of its values, both written in the same statement, whichever is given.

A value that is there already costs a look-up. Its first use makes the row, and that is the one thing that could make
an application wait for another one, or deadlock with it: both may use a value for the first time, and the index keeps
the second waiting. So the wait is short, and once a transaction. A row whose value could not be had stays without its
reference, with a note in the outbox; the note is carried when its transaction commits, when that of the row of
the value commits, and by the steps of the run.

Between the triggers of a migration and its contract the values do not change and are not deleted: a reference that an
application has just looked up is good.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import NOT_OURS, literal
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.model.names import OWN_TRIGGERS, quote
from tasks.model.plan import differing


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """The two places of a value."""

    outbox: Outbox
    """Its link is the key of the row."""
    table: str
    """Quoted and qualified, like `lookup`."""
    lookup: str
    key: tuple[str, ...]
    text: str
    """The column with the value itself."""
    reference: str
    value: str
    """The name of the value in the lookup table."""
    type: str

    def create(self) -> tuple[str, ...]:
        """Return the statements that begin to keep the two in step. Both tables must be locked against writers."""
        names = self.trigger_names
        text, reference = quote(self.text), quote(self.reference)
        left = f"new.{text} is not null and new.{reference} is null"
        old, new = (f"{row}.{text}, {row}.{reference}" for row in ("old", "new"))
        changed = differing(old, new, exact=True)
        both, pending = self.outbox.function("both"), self.outbox.function("pending")
        return (
            *self.outbox.create(),
            *self._functions(),
            f"create trigger {quote(names['insert'])} before insert on {self.table} for each row when ({NOT_OURS})"
            f" execute function {both}()",
            f"create trigger {quote(names['update'])} before update on {self.table} for each row"
            f" when ({NOT_OURS} and ({changed} or {left})) execute function {both}()",
            f"create trigger {quote(names['pending'])} after insert or update on {self.table} for each row"
            f" when ({NOT_OURS} and {left}) execute function {pending}()",
            f"alter table {self.table} "
            + ", ".join(f"enable always trigger {quote(names[one])}" for one in ("insert", "update", "pending")),
            f"create trigger {quote(names['held'])} before delete or update on {self.lookup} for each row"
            f" execute function {self.outbox.function('held')}()",
            f"create trigger {quote(names['emptied'])} before truncate on {self.lookup} for each statement"
            f" execute function {self.outbox.function('held')}()",
            f"create constraint trigger {quote(names['made'])} after insert on {self.lookup}"
            f" deferrable initially deferred for each row execute function {self.outbox.function('commit')}()",
            f"alter table {self.lookup} "
            + ", ".join(f"enable always trigger {quote(names[one])}" for one in ("held", "emptied", "made")),
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it."""
        names = self.trigger_names
        types = ", ".join(self.outbox.types)
        return (
            *(f"drop trigger if exists {quote(names[one])} on {self.table}" for one in ("insert", "update", "pending")),
            *(f"drop trigger if exists {quote(names[one])} on {self.lookup}" for one in ("held", "emptied", "made")),
            *self.outbox.drop(),
            *(f"drop function if exists {self.outbox.function(one)}()" for one in ("both", "pending", "held")),
            f"drop function if exists {self.outbox.function('fill')}({self.type}, {types})",
            f"drop function if exists {self.outbox.function('reference')}({self.type})",
            f"drop function if exists {self.outbox.function('make')}({self.type})",
        )

    @property
    def trigger_names(self) -> dict[str, str]:
        """Names of the triggers by what they are for; they sort last."""
        events = ("insert", "update", "pending", "held", "emptied", "made")
        return {event: f"{OWN_TRIGGERS}{self.outbox.tag}_{event}" for event in events}

    def fill(self) -> str:
        """Return the expression that fills a row, in the names of its columns."""
        return f"{self.outbox.function('fill')}({', '.join(quote(one) for one in (self.text, *self.key))})"

    def of(self, expression: str) -> str:
        """Return the expression for the reference to a value, which is made if need be."""
        return f"{self.outbox.function('reference')}({expression})"

    def _functions(self) -> Iterator[str]:
        yield self._make()
        yield self._reference()
        yield self._both()
        yield self.outbox.define(
            "pending",
            "",
            "trigger",
            f"begin\n  {self.outbox.note('p', self._keys('new'), 'null')}\n  return null;\nend",
        )
        parameters = ", ".join([f"value {self.type}", self.outbox.parameters])
        yield self.outbox.define(
            "fill",
            parameters,
            "bigint",
            f"""\
declare
  found_id bigint := {self.of("value")};
begin
  if found_id is null and value is not null then
    {self.outbox.note("p", self.outbox.arguments, "null")}
  end if;
  return found_id;
end""",
        )
        yield self._carry()
        yield self._held()

    def _make(self) -> str:
        """Make the row of a value; NULL where somebody else is making it, and when it cannot be made."""
        return self.outbox.define_make(
            f"value {self.type}",
            "bigint",
            f"""\
insert into {self.lookup} as l ({quote(self.value)}) values (value)
    on conflict do nothing returning l.id into found_id;
    return found_id;""",
            late="null",
            variables="\n  found_id bigint;",
        )

    def _reference(self) -> str:
        read = f"select l.id into found_id from {self.lookup} as l where l.{quote(self.value)} = value;"
        return self.outbox.define(
            "reference",
            f"value {self.type}",
            "bigint",
            f"""\
declare
  found_id bigint;
begin
  if value is null then return null; end if;
  {read}
  if found_id is not null then return found_id; end if;
  found_id := {self.outbox.function("make")}(value);
  if found_id is not null then return found_id; end if;
  -- Somebody else has made it meanwhile.
  {read}
  return found_id;
end""",
        )

    def _both(self) -> str:
        """What is given decides; of a row that is changed in both places, the reference."""
        text, reference = quote(self.text), quote(self.reference)
        follow = f"new.{text} := (select l.{quote(self.value)} from {self.lookup} as l where l.id = new.{reference});"
        return self.outbox.define(
            "both",
            "",
            "trigger",
            f"""\
begin
  if tg_op = 'INSERT' then
    if new.{reference} is not null then
      {follow}
    else
      new.{reference} := {self.of(f"new.{text}")};
    end if;
  elsif new.{reference} is distinct from old.{reference} and (
      new.{reference} is not null
      or not {differing(f"new.{text}", f"old.{text}", exact=True)}) then
    {follow}
  else
    new.{reference} := {self.of(f"new.{text}")};
  end if;
  return new;
end""",
        )

    def _carry(self) -> str:
        outbox, text, reference = self.outbox, quote(self.text), quote(self.reference)
        mine = " and ".join(
            f"{column} = {given}" for column, given in zip(self._keys("x"), outbox.arguments, strict=True)
        )
        rows = f"{self.table} as x where {mine} and x.{text} is not null and x.{reference} is null"
        return outbox.define(
            "carry",
            outbox.parameters,
            "bigint",
            f"""\
declare
  carried bigint;
  seen bigint[];
  place tid;
  value {self.type};
  found_id bigint;
begin
  select array_agg(o.id) into seen from {outbox.table} as o where {outbox.of_link};
  if seen is null then return 0; end if;
  if exists (select from {rows}) then
    select x.ctid, x.{text} into place, value from {rows} for no key update skip locked;
    if not found then return 0; end if;
    found_id := {self.of("value")};
    if found_id is null then return 0; end if;
    update {self.table} as x set {reference} = found_id where x.ctid = place;
  end if;
  delete from {outbox.table} as o where o.id = any (seen);
  get diagnostics carried = row_count;
  return carried;
end""",
        )

    def _held(self) -> str:
        value = quote(self.value)
        message = f"the values in {self.lookup} are held until the migration {self.outbox.migration} is contracted"
        return self.outbox.define(
            "held",
            "",
            "trigger",
            f"""\
begin
  -- One condition would name what a TRUNCATE does not have.
  if tg_op = 'UPDATE' then
    if not {differing(f"new.id, new.{value}", f"old.id, old.{value}", exact=True)} then
      return new;
    end if;
  end if;
  raise exception using
    errcode = 'object_not_in_prerequisite_state',
    message = {literal(message)};
end""",
        )

    def _keys(self, alias: str) -> tuple[str, ...]:
        return tuple(f"{alias}.{quote(one)}" for one in self.key)
