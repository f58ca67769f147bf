"""What has still to be carried from one table to another, and who carries it.

A trigger that wrote into another table would hold locks there that the application never asked for, and two
applications that never met would deadlock. So triggers only note, in an outbox of ours, which rows were written. The
note is carried when the transaction commits, by a deferred trigger, which waits for nothing: where somebody else has
the rows, or is carrying the same ones, the note stays, and the next commit or the next step of the run carries it.

Why nothing is lost. A note commits with what it tells of. Whoever carries the notes of a link holds the lock of that
link until his transaction ends, and reads both tables by statements that began after he got it. So he sees what all
carriers before him did and all that his notes tell of; what he does not see has a note of its own, which is still to
come. That needs READ COMMITTED: under a stricter level a transaction leaves its notes to others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from tasks.engines.postgresql.drain import LATE, TOO_MUCH
from tasks.engines.postgresql.planning.dual_write import OURS, PINNED, literal

MOST = 200
"""How many of the newest notes one commit carries, and half as many of the oldest: it must not take long."""
PIECE = 1000
"""As many are looked up at once where all are carried."""
SLOTS = 512
"""How many locks all links share: a transaction that writes a million of them must not fill the lock table."""
WAIT = "10ms"
"""How long what somebody else is just making is waited for: far less than the server waits for deadlocks."""


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """The outbox of one pair of tables in one migration."""

    migration: str
    about: str
    """What sets it apart within the migration."""
    types: tuple[str, ...]
    """Of the columns that tie the two tables."""
    search_path: str

    @cached_property
    def tag(self) -> str:
        """A short name, the same in every process."""
        return sha256(f"{self.migration}\0{self.about}".encode()).hexdigest()[:12]

    @property
    def table(self) -> str:
        """The table with the notes: `id`, `kind`, the link, the key of the row, and the transaction."""
        return f'changeover."outbox_{self.tag}"'

    def function(self, role: str) -> str:
        """Return the qualified name of a function."""
        return f'changeover."dual_{role}_{self.tag}"'

    @property
    def links(self) -> tuple[str, ...]:
        """Names of the columns of a note that hold the link."""
        return tuple(f"link_{number}" for number in range(1, len(self.types) + 1))

    @property
    def parameters(self) -> str:
        """The link as parameters of a function, `k1 integer, k2 text`."""
        return ", ".join(f"k{n} {type_name}" for n, type_name in enumerate(self.types, 1))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of those parameters."""
        return tuple(f"k{n}" for n in range(1, len(self.types) + 1))

    @property
    def of_link(self) -> str:
        """Condition of the notes of the link that the parameters give."""
        return self.of(self.arguments)

    def of(self, values: Sequence[str]) -> str:
        """Return the condition of the notes `o` of a link."""
        return " and ".join(f"o.{link} = {value}" for link, value in zip(self.links, values, strict=True))

    @property
    def newer(self) -> str:
        """Condition that a note of the link has come that is not among those seen."""
        return f"exists (select from {self.table} as o where {self.of_link} and o.id <> all (seen))"

    def lock(self, values: Sequence[str]) -> str:
        """Return the two numbers of the advisory lock of a link."""
        number = int(self.tag[:8], 16)
        return f"{number - (1 << 32) if number >= 1 << 31 else number}, {_slot(values)}"

    @property
    def settings(self) -> str:
        """Names and values mean the same in every session; and what is carried is not noted again."""
        pinned = [f"set {name} = {literal(value)}" for name, value in PINNED.items()]
        return " ".join(
            [f"set search_path = {self.search_path}, pg_temp", *pinned, OURS],
        )

    def define(self, name: str, parameters: str, returns: str, body: str, settings: str = "") -> str:
        """Return CREATE OR REPLACE FUNCTION, with `settings` beside those of all of them."""
        tag = f"$co_{self.tag}$"
        return (
            f"create or replace function {self.function(name)}({parameters}) returns {returns}\n"
            f"language plpgsql security definer {self.settings}{settings} as {tag}\n"
            # Every column is qualified: a user's column may be called like a variable of ours.
            f"#variable_conflict use_variable\n{body}\n{tag}"
        )

    def define_make(
        self, parameters: str, returns: str, body: str, *, late: str, variables: str = "", refused: str = ""
    ) -> str:
        """Return the function that makes a row which others may be making, too: it waits for them once a transaction.

        `late`: what it returns after that, and where the row cannot be had. `refused`: exceptions that are no wait.
        """
        setting = f"changeover.late_{self.tag}"
        return self.define(
            "make",
            parameters,
            returns,
            f"""\
declare{variables}
begin
  if pg_catalog.current_setting('{setting}', true) = pg_catalog.pg_current_xact_id()::text then return {late}; end if;
  begin
    {body}
  exception{refused}
    when others then
      -- Nothing that happens here may fail the statement of an application.
      perform pg_catalog.set_config('{setting}', pg_catalog.pg_current_xact_id()::text, true);
      return {late};
  end;
end""",
            settings=f" set lock_timeout = '{WAIT}'",
        )

    def note(self, kind: str, values: Sequence[str], key: str) -> str:
        """Return the statement that leaves a note; only a link without NULLs ties rows."""
        present = " and ".join(f"{value} is not null" for value in values)
        return (
            f"insert into {self.table} (kind, {', '.join(self.links)}, key)"
            f" select {literal(kind)}, {', '.join(values)}, {key} where {present};"
        )

    def along(self, old: Sequence[str], new: Sequence[str], where: str = "") -> str:
        """Return the statement that says of a new link what is still to be said of the old one."""
        return (
            f"insert into {self.table} (kind, {', '.join(self.links)}, key)"
            f" select o.kind, {', '.join(new)}, o.key from {self.table} as o where {self.of(old)}{where} order by o.id;"
        )

    def create(self) -> tuple[str, ...]:
        """Return the statements that make the outbox. `carry`, which it calls, is made by whoever knows the tables."""
        columns = ", ".join(f"{name} {type_name}" for name, type_name in zip(self.links, self.types, strict=True))
        return (
            f"create table {self.table} (id bigint generated always as identity primary key, kind text not null,"
            f" {columns}, key text[], writer xid8 not null default pg_catalog.pg_current_xact_id())",
            f"create index on {self.table} ({', '.join(self.links)})",
            self._carry_all(),
            self._commit(),
            f"create constraint trigger carry after insert on {self.table} deferrable initially deferred"
            f" for each row execute function {self.function('commit')}()",
            f"alter table {self.table} enable always trigger carry",
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that remove it."""
        types = ", ".join(self.types)
        return (
            f"drop table if exists {self.table}",
            f"drop function if exists {self.function('commit')}()",
            f"drop function if exists {self.function('carry_all')}(integer, boolean)",
            f"drop function if exists {self.function('carry')}({types})",
        )

    def _carry_all(self) -> str:
        """The newest notes, which are this transaction's own, and some of the oldest: a long outbox costs no more.

        All of them, which is what is asked for under locks, end within the lock budget, or not at all. Returns how
        many notes were dealt with.
        """
        links = ", ".join(self.links)
        found = [f"work.{name}" for name in self.links]
        carry = f"carried := carried + {self.function('carry')}({', '.join(found)});"
        return self.define(
            "carry_all",
            "most integer, singly boolean",
            "bigint",
            f"""\
declare
  work record;
  carried bigint := 0;
  before bigint;
  late constant timestamptz := case when most is null then {LATE} end;
begin
  loop
    before := carried;
    for work in
      select {links} from (
        (select id, {links} from {self.table} order by id desc limit coalesce(most, {PIECE}))
        union all (select id, {links} from {self.table} order by id limit coalesce(most, {PIECE}) / 2)
      ) as near
      group by {links} order by max(id) desc
    loop
      if clock_timestamp() > late then
        raise exception {literal(TOO_MUCH)} using errcode = 'lock_not_available';
      end if;
      continue when not pg_catalog.pg_try_advisory_xact_lock({self.lock(found)});
      if singly then
        begin
          {carry}
        exception when others then null;
        end;
      else
        {carry}
      end if;
    end loop;
    exit when most is not null or carried = before;
  end loop;
  return carried;
end""",
        )

    def _commit(self) -> str:
        setting = f"changeover.carried_{self.tag}"
        return self.define(
            "commit",
            "",
            "trigger",
            f"""\
begin
  if pg_catalog.current_setting('{setting}', true) = pg_catalog.pg_current_xact_id()::text
     or pg_catalog.current_setting('transaction_isolation') <> 'read committed' then
    return null;
  end if;
  -- Once a transaction, however many rows it wrote.
  perform pg_catalog.set_config('{setting}', pg_catalog.pg_current_xact_id()::text, true);
  begin
    perform {self.function("carry_all")}({MOST}, false);
  exception when others then
    -- A value that the other table cannot hold stays; it must not keep the rest waiting.
    perform {self.function("carry_all")}(20, true);
  end;
  return null;
end""",
        )

    @property
    def drain(self) -> str:
        """A call that carries some of what nobody else is busy with, about as many notes as are put for `{most}`."""
        return f"{self.function('carry_all')}({{most}}, true)"

    def carry_rest(self) -> tuple[str, ...]:
        """Return the statements that carry everything, or fail. Both tables must be locked exclusively."""
        return (
            f"select {self.function('carry_all')}(null, false)",
            f"""\
do $carried$
declare
  tries integer := 0;
begin
  while exists (select from {self.table}) loop
    if tries = 10 then
      raise exception 'writes are left that could not be carried: mend what the other table cannot say, then run again';
    end if;
    -- A transaction that ends lets go of its tables a moment before its advisory locks.
    tries := tries + 1;
    perform pg_catalog.pg_sleep(0.005);
    perform {self.function("carry_all")}(null, false);
  end loop;
end
$carried$""",
        )

    def waits(self, values: Sequence[str]) -> str:
        """Return the condition that a note of this link is still to be carried."""
        return f"exists (select from {self.table} as o where {self.of(values)})"


def _slot(values: Sequence[str]) -> str:
    return f"pg_catalog.hash_record(row({', '.join(values)})) & {SLOTS - 1}"
