"""What keeps one table the image of another: a trigger on the source, and a function for what it puts aside.

The trigger does not write what it is called with. It reads the row by its key as it is now, so that whatever the
triggers of others do to it, in whatever order, the last word is the row itself. AFTER ROW, so that generated columns
and other triggers' work are in it; logical replication fires row triggers too.

A transaction at REPEATABLE READ cannot see what was copied after it began, so it cannot tell whether there is
something to replace. It notes the key, and `drain` carries it over; so does a write that the target refuses, and the
statement of the application succeeds. Notes commit with what they are about.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import PINNED, literal
from tasks.engines.postgresql.planning.shadow.followed import Followed
from tasks.model.names import quote
from tasks.model.plan import Assignment, differing

_ITSELF = "428C9"
"""generated_always: what PostgreSQL itself says of a value that a column shall not be given."""


@dataclass(frozen=True, kw_only=True)
class Mirror(Followed):
    """One direction: every row of `source` stands in `target`, under the same key."""

    target: str
    """Quoted and qualified, like `notes`."""
    notes: str
    carried: str
    """A table of one row: what changed it last has carried over what was noted."""
    alias: str
    search_path: str
    key: tuple[str, ...]
    arbiter: tuple[str, ...]
    """Those columns of the key that the target keeps unique: all of them, unless one table is told by fewer."""
    source_types: tuple[str, ...]
    """Of the columns of the key, like `target_types`."""
    target_types: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    guarded: bool
    """The target may refuse what the source has taken."""
    pinned: bool
    anew: bool
    """A row of the target may be made anew: nothing that counts in it comes from elsewhere."""
    computed: tuple[str, ...] = ()
    """Columns that the target computes and the source does not: another value than that cannot be carried."""

    @property
    def function(self) -> str:
        """Name of the trigger function."""
        return f'changeover."shadow_{self.direction}_{self.tag}"'

    @property
    def drain_function(self) -> str:
        """Name of the function that carries over what is noted."""
        return f'changeover."shadow_{self.direction}_drain_{self.tag}"'

    @property
    def drain(self) -> str:
        """The statement that carries over as many notes as are put for `{most}`, and returns how many it has."""
        return f"select {self.drain_function}({{most}})"

    def create_notes(self, types: Sequence[str]) -> str:
        """Return the statement that makes the table of notes, for keys of these types."""
        columns = ", ".join(f"{quote(c)} {t} not null" for c, t in zip(self.key, types, strict=True))
        return (
            f"create table {self.notes} (_changeover_number bigint generated always as identity primary key,"
            f" _changeover_failed text, _changeover_told boolean not null default false, {columns})"
        )

    def create_carried(self) -> tuple[str, ...]:
        """Return the statements that make the table which tells when something was carried over."""
        return (f"create table {self.carried} (calls bigint not null)", f"insert into {self.carried} values (0)")

    def create_functions(self) -> tuple[str, ...]:
        """Return the statements that make the functions."""
        return (*self.create_whole_function(), self._trigger_function(), self._drain_function())

    def create_triggers(self) -> tuple[str, ...]:
        """Return the statements that install the triggers, for every session, also of replication."""
        row, truncate = self.triggers
        return (
            f"create trigger {quote(row)} after insert or update or delete on {self.source}"
            f" for each row execute function {self.function}()",
            f"alter table {self.source} enable always trigger {quote(row)}",
            *(
                statement
                for one in self.relations
                for statement in (
                    f"create trigger {quote(truncate)} after truncate on {one}"
                    f" for each statement execute function {self.function}()",
                    f"alter table {one} enable always trigger {quote(truncate)}",
                )
            ),
        )

    def drop_triggers(self) -> tuple[str, ...]:
        """Return the statements that remove the triggers."""
        row, truncate = self.triggers
        return (
            f"drop trigger if exists {quote(row)} on {self.source}",
            *(f"drop trigger if exists {quote(truncate)} on {one}" for one in self.relations),
        )

    def drop_functions(self) -> tuple[str, ...]:
        """Return the statements that remove the functions, and triggers of a partition that has left with one."""
        names = (
            f"{self.function}()",
            f"{self.drain_function}(bigint)",
            *([f"{self.whole_function}()"] * bool(self.parts)),
        )
        return tuple(f"drop function if exists {name} cascade" for name in names)

    def finish(self) -> str:
        """Return the statement that carries over all that is noted, or fails: for the transaction of a swap.

        It fails, too, where a write to a partition may have been noted nowhere.

        On the way back, what was refused before is what somebody has accepted to lose.
        """
        failed, left = (
            f"(select count(*) from {self.notes} where _changeover_failed is {what})" for what in ("not null", "null")
        )
        if self.computed:
            failed = (
                f"({failed} + (select count(*) from changeover.rejections where migration = {literal(self.migration)}"
                f" and table_name = {literal(self.full_name)} and sqlstate = '{_ITSELF}'))"
            )
        return f"""\
do $finish$
declare
  refused constant bigint := {"0" if self.direction == "up" else failed};
begin
  perform {self.drain_function}(null);
  if {left} > 0 then
    raise exception 'somebody has locked notes' using errcode = 'lock_not_available';
  end if;
  if {failed} > refused then
    raise exception 'rows cannot be carried over' using errcode = 'integrity_constraint_violation';
  end if;
end
$finish$"""

    def _settings(self) -> str:
        path = f"set search_path = {self.search_path}, pg_temp set row_security = off"
        pinned = [f"set {name} = {literal(value)}" for name, value in PINNED.items()] if self.pinned else []
        return " ".join([path, *pinned])

    def _same(self, left: str, right: str) -> str:
        """Two rows of the source have the same key."""
        return " and ".join(f"{left}.{quote(c)} = {right}.{quote(c)}" for c in self.key)

    def _its_image(self, row: str) -> str:
        """A row `b` of the target has the key of a row of the source."""
        return " and ".join(
            f"b.{quote(c)} = ({row}.{quote(c)})::{t}" for c, t in zip(self.key, self.target_types, strict=True)
        )

    def _come_back(self, row: str) -> list[tuple[str, str]]:
        """The columns of a key, and what they are once they have been of the target's type.

        Where that is something else, the image is not this row's: another one has it, or can.
        """
        return [
            (quote(c), f"{row}.{quote(c)}" if t == s else f"(({row}.{quote(c)})::{t})::{s}")
            for c, s, t in zip(self.key, self.source_types, self.target_types, strict=True)
        ]

    def _remove(self, row: str) -> str:
        owner = " and ".join(f"a.{c} = {value}" for c, value in self._come_back(row))
        return (
            f"delete from {self.target} as b where {self._its_image(row)}"
            f" and not exists (select from {self.source} as a where {owner})"
        )

    def _refuse_another(self, row: str) -> str:
        """A value of the key that the other type would round, or cut, is no row of the other table."""
        if self.source_types == self.target_types:
            return ""
        same = " and ".join(f"{row}.{c} = {value}" for c, value in self._come_back(row))
        return f"""\
if ({same}) is not true then
        if exists (select from {self.source} as a where {self._same("a", row)}) then
          raise exception 'the key is another one in the other table' using errcode = 'data_exception';
        end if;
      end if;
      """

    def _put(self, row: str) -> str:
        columns = ", ".join(quote(a.column) for a in self.assignments)
        values = ", ".join(f"({a.expression}\n)" for a in self.assignments)
        arbiter = ", ".join(quote(c) for c in self.arbiter)
        others = [quote(c) for c in self.key if c not in self.arbiter]
        same = " and ".join(f"b.{name} = excluded.{name}" for name in others)
        found = f"select from {self.source} as a where {self._same('a', row)}"
        # Another row of the source, which may have both, has this one's place in the target.
        refused = f"""
;
      if not found and exists ({found}) then
        raise exception 'the other table has another row of this key' using errcode = 'unique_violation';
      end if"""
        changes = ", ".join(f"{quote(a.column)} = excluded.{quote(a.column)}" for a in self.assignments)
        return (
            f"{self._refuse_another(row)}insert into {self.target} as b ({columns}) overriding system value"
            f" select {values} from (select * from {self.source} as a where {self._same('a', row)})"
            f" as {quote(self.alias)}"
            f" on conflict ({arbiter}) do update set {changes}{f' where {same}{refused}' if others else ''}"
            f"{self._differs(row)}"
        )

    def _differs(self, row: str) -> str:
        """Note, for a rollback, that the row has a value which is not what the target computes."""
        if not self.computed:
            return ""
        given, computed = (", ".join(f"{one}.{quote(c)}" for c in self.computed) for one in "ab")
        return (
            ";\n      insert into changeover.rejections (migration, table_name, direction, sqlstate)"
            f" select {literal(self.migration)}, {literal(self.full_name)}, '{self.direction}', '{_ITSELF}'"
            f" from {self.source} as a, {self.target} as b where {self._same('a', row)} and {self._its_image(row)}"
            f" and {differing(given, computed, exact=True)}"
        )

    def _note(self, row: str, *, told: bool) -> str:
        columns = ", ".join(quote(c) for c in self.key)
        values = ", ".join(f"{row}.{quote(c)}" for c in self.key)
        return f"insert into {self.notes} (_changeover_told, {columns}) values ({str(told).lower()}, {values})"

    def _both(self, *, told: bool) -> str:
        return f"""\
    if tg_op <> 'INSERT' then {self._note("old", told=told)}; end if;
    if tg_op <> 'DELETE' then {self._note("new", told=told)}; end if;"""

    def _carry(self) -> str:
        old, new = (", ".join(f"{row}.{quote(c)}" for c in self.key) for row in ("old", "new"))
        return f"""\
    if tg_op = 'DELETE' then
      {self._remove("old")};
    else
      if tg_op = 'UPDATE' then
        if {differing(old, new, exact=True)} then
          {self._remove("old")};
        end if;
      end if;
      {self._put("new")};
    end if;"""

    def _rejected(self) -> str:
        """Before the swap the notes are enough: the gate asks for them. After it, a rollback asks for rejections."""
        if self.direction == "up":
            return ""
        return f"""
    insert into changeover.rejections (migration, table_name, direction, sqlstate)
    values ({literal(self.migration)}, {literal(self.full_name)}, 'down', sqlstate);"""

    def _truncate(self) -> str:
        """A partition is emptied by itself, or with its table; one that was detached has kept the trigger."""
        if not self.parts:
            return f"truncate {self.target};"
        return f"""\
if tg_relid = {literal(self.source)}::regclass then
      truncate {self.target};
    elsif exists (select from pg_catalog.pg_inherits
                  where inhrelid = tg_relid and inhparent = {literal(self.source)}::regclass) then
      -- The only one, if it is the default, takes every row: it has no condition.
      execute 'delete from {self.target.replace("'", "''")} as b where '
        || coalesce(pg_catalog.pg_get_partition_constraintdef(tg_relid), 'true');
      if current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
        -- It does not see what others have written since it began: that would stay.
        insert into changeover.rejections (migration, table_name, direction, sqlstate)
        values ({literal(self.migration)}, {literal(self.full_name)}, {literal(self.direction)}, '40001');
      end if;
    end if;"""

    def _trigger_function(self) -> str:
        body = self._carry()
        if self.guarded:
            body = f"""\
    begin
{body}
    exception
      when serialization_failure or deadlock_detected or lock_not_available or query_canceled then raise;
      when others then
{self._both(told=True)}{self._rejected()}
    end;"""
        return f"""\
create or replace function {self.function}() returns trigger
language plpgsql security definer {self._settings()} as $co_{self.tag}$
#variable_conflict use_column
begin
{self.note_stranger()}  if tg_op = 'TRUNCATE' then
    {self._truncate()}
  elsif current_setting('transaction_isolation') in ('repeatable read', 'serializable') then
{self._both(told=False)}
  else
{body}
  end if;
  return null;
end
$co_{self.tag}$"""

    def _fail(self) -> str:
        return f"""\
update {self.notes} as n set _changeover_failed = sqlstate, _changeover_told = true
        where n._changeover_number = note._changeover_number;
        if not note._changeover_told then {self._rejected() or "null;"}
        end if;"""

    def _keep_for_later(self) -> str:
        if not self.anew:
            return ""
        return """\
when unique_violation or exclusion_violation then
        _changeover_more := _changeover_more || note._changeover_number;
        continue;
      """

    def _together(self) -> str:
        """Values that have changed places stand in each other's way: all those rows go before any of them comes."""
        if not self.anew:
            return ""
        these = (
            f"select * from {self.notes} where _changeover_number = any (_changeover_more) order by _changeover_number"
        )
        return f"""\
if _changeover_more <> '{{}}' then
    begin
      for note in {these} loop
        perform from {self.source} as a where {self._same("a", "note")} for share;
        delete from {self.target} as b where {self._its_image("note")};
      end loop;
      for note in {these} loop
        {self._put("note")};
        delete from {self.notes} as n where n._changeover_number = note._changeover_number;
      end loop;
      done := done + cardinality(_changeover_more);
    exception
      when lock_not_available then null;
      when serialization_failure or deadlock_detected or query_canceled then raise;
      when others then
        for note in {these} loop
        {self._fail()}
        end loop;
        done := done + cardinality(_changeover_more);
    end;
  end if;
  """

    def _drain_function(self) -> str:
        return f"""\
create or replace function {self.drain_function}(bigint) returns bigint
language plpgsql security definer {self._settings()} as $co_{self.tag}$
#variable_conflict use_column
declare
  note record;
  done bigint := 0;
  _changeover_more bigint[] := '{{}}';
begin
  for note in
    select * from {self.notes} where _changeover_failed is null order by _changeover_number limit $1
    for update skip locked
  loop
    begin
      -- Each statement sees what was committed before it. The row first, then its image, as applications lock them.
      -- What somebody has locked stays noted.
      perform from {self.source} as a where {self._same("a", "note")} for share skip locked;
      if not found and exists (select from {self.source} as a where {self._same("a", "note")}) then continue; end if;
      perform from {self.target} as b where {self._its_image("note")} for update skip locked;
      if not found and exists (select from {self.target} as b where {self._its_image("note")}) then continue; end if;
      {self._remove("note")};
      {self._put("note")};
      delete from {self.notes} as n where n._changeover_number = note._changeover_number;
    exception
      when lock_not_available then exit;
      when serialization_failure or deadlock_detected or query_canceled then raise;
      {self._keep_for_later()}when others then
        {self._fail()}
    end;
    done := done + 1;
  end loop;
  {self._together()}if done > 0 then update {self.carried} set calls = calls + 1; end if;
  {f"perform {self.whole_function}();{chr(10)}  " if self.parts else ""}return done;
end
$co_{self.tag}$"""
