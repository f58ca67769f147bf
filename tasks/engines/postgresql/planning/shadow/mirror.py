"""What keeps one table the image of another: a trigger on the source, and a function for what it puts aside.

The trigger does not write what it is called with. It reads the row by its key as it is now, so that whatever the
triggers of others do to it, in whatever order, the last word is the row itself. AFTER ROW, so that generated columns
and other triggers' work are in it; logical replication fires row triggers too.

A transaction at REPEATABLE READ cannot see what was copied after it began, so it cannot tell whether there is
something to replace. It notes the key, and `drain` carries it over; so does a write that the target refuses, and the
statement of the application succeeds. Notes commit with what they are about.
"""

from dataclasses import dataclass

from tasks.engines.postgresql.drain import TOO_MUCH
from tasks.engines.postgresql.planning.dual_write import PINNED, literal
from tasks.engines.postgresql.planning.shadow.followed import Followed
from tasks.model.catalogue import Table
from tasks.model.names import quote
from tasks.model.plan import Assignment, differing

_WAITED = "perform set_config('changeover.waited', 'yes', true)"
_PATIENCE = "case when current_setting('changeover.waited', true) = 'yes' then '1ms' else '100ms' end"
"""As long a write waits at the other table for somebody: once in a transaction a tenth of what a deadlock may last."""
_ITSELF = "428C9"
"""generated_always: what PostgreSQL itself says of a value that a column shall not be given."""
_LATE = "UP002"
"""A code that no server gives, within one function."""


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
    immediate: tuple[str, ...] = ()
    """Constraints of the target that may be checked at the commit: there nobody could note what they refuse."""
    impatient: bool = False
    """Rows that have nothing to do with each other in the source may have in the target: nobody waits for that long."""
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
        """The statement that carries over as many notes as are put for `{most}`, of those after the number `{after}`.

        It returns how many it has, the number to go on after, or NULL when it came to the last one, and the highest
        number. For none it returns where to begin.
        """
        return f"select * from {self.drain_function}({{most}}, {{after}})"

    def create_notes(self, table: Table) -> tuple[str, ...]:
        """Return the statements that make the table of notes, for keys as they are in that table.

        They are looked up by key, with the collation of the table, and read in order: those that have failed, and those
        that are gone and that an old snapshot keeps, must not be passed over every time.
        """
        found = {column.name: column for column in table.columns}
        columns = ", ".join(f"{quote(name)} {found[name].type} not null" for name in self.key)
        collations = {name: f" collate {one}" for name in self.key if (one := found[name].collation)}
        key = ", ".join(f"{quote(name)}{collations.get(name, '')}" for name in self.key)
        return (
            f"create table {self.notes} (_changeover_number bigint generated always as identity primary key,"
            f" _changeover_failed text, _changeover_told boolean not null default false, {columns})",
            f"create index on {self.notes} ({key})",
            *(
                f"create index on {self.notes} (_changeover_number) where _changeover_failed is {what}"
                for what in ("null", "not null")
            ),
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
            f"{self.drain_function}(bigint, bigint)",
            *([f"{self.whole_function}()"] * bool(self.parts)),
        )
        return tuple(f"drop function if exists {name} cascade" for name in names)

    def finish(self) -> str:
        """Return the statement that carries over all that is noted, or fails: for the transaction of a swap.

        What is too much for its `lock_timeout` fails as a lock that could not be had: others wait for this transaction.

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
  perform {self.drain_function}(null, 0);
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

    def _at_once(self) -> str:
        """What is refused is refused now, whenever applications have their own constraints checked."""
        schema = self.target.rpartition(".")[0]
        return "".join(
            f"if exists (select from pg_catalog.pg_constraint where conrelid = {literal(self.target)}::regclass"
            f" and conname = {literal(name)}) then set constraints {schema}.{quote(name)} immediate; end if;\n"
            for name in self.immediate
        )

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
    elsif {literal(self.source)}::regclass in (select relid from pg_catalog.pg_partition_ancestors(tg_relid)) then
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
        body = self._guarded() if self.guarded else self._carry()
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
{self._both(told=True)}{self._rejected()}
    end;"""

    def _unless_noted(self) -> str:
        """What may fit later is noted only, and told when it is carried over and does not.

        Where rows meet that do not in the source, nobody waits for the transaction of another until the server calls it
        a deadlock. What may be checked at the commit applications break, and mend.
        """
        later = ["lock_not_available"] * self.impatient
        later += ["unique_violation", "exclusion_violation"] * bool(self.immediate)
        raised = ["serialization_failure", "deadlock_detected", "query_canceled"]
        raised += [] if self.impatient else ["lock_not_available"]
        raising = f"when {' or '.join(raised)} then raise;"
        noted = f"    if sqlstate = '55P03' then {_WAITED}; end if;\n" * self.impatient + self._both(told=False)
        return f"{raising}\n      when {' or '.join(later)} then\n{noted}" if later else raising

    def _fail(self) -> str:
        return f"""\
update {self.notes} as n set _changeover_failed = sqlstate, _changeover_told = true
        where n._changeover_number = note._changeover_number;
        if found and not note._changeover_told then {self._rejected() or "null;"}
        end if;"""

    def _fail_or_keep(self) -> str:
        """What only another noted row may keep out is kept for the end."""
        fail = f"{self._fail()}\n        put := 1;"
        if not self.anew:
            return fail
        return f"""\
if sqlstate in ('23505', '23P01') then
          _changeover_more := _changeover_more || note._changeover_number;
          put := 0;
        else
        {fail}
        end if;"""

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
      carried := carried + cardinality(_changeover_more);
    exception
      when lock_not_available then null;
      when serialization_failure or deadlock_detected or query_canceled then raise;
      when others then
        for note in {these} loop
        {self._fail()}
        end loop;
        carried := carried + cardinality(_changeover_more);
    end;
  end if;
  """

    def _drain_function(self) -> str:
        """In pieces of as many notes as nothing is wrong with: each subtransaction that writes takes an xid of its own.

        All at once, which is what is asked for under locks, ends within `lock_timeout`, or not at all.
        """
        return f"""\
create or replace function {self.drain_function}(bigint, bigint, out carried bigint, out seen bigint, out ahead bigint)
language plpgsql security definer {self._settings()} as $co_{self.tag}$
#variable_conflict use_column
declare
  note record;
  put bigint;
  looked bigint;
  looked_in_all bigint := 0;
  wrong boolean;
  _changeover_last bigint;
  late constant timestamptz := case when $1 is null and current_setting('lock_timeout') <> '0'
    then clock_timestamp() + current_setting('lock_timeout')::interval end;
  _changeover_size bigint := $1;
  _changeover_after bigint := $2;
  _changeover_more bigint[] := '{{}}';
begin
  carried := 0;
  select max(n._changeover_number) into ahead from {self.notes} as n;
  if $1 = 0 then
    select n._changeover_number - 1 into seen from {self.notes} as n
    where n._changeover_failed is null order by n._changeover_number limit 1;
    return;
  end if;
  {self._at_once()}loop
    looked := 0;
    put := 0;
    wrong := false;
    begin
      for note in
        select * from {self.notes} where _changeover_failed is null and _changeover_number > _changeover_after
        order by _changeover_number limit _changeover_size for update skip locked
      loop
        if clock_timestamp() > late then
          raise exception {literal(TOO_MUCH)} using errcode = '{_LATE}';
        end if;
        looked := looked + 1;
        _changeover_last := note._changeover_number;
        -- Each statement sees what was committed before it. The row first, then its image, as applications lock them.
        -- What somebody has locked stays noted.
        perform from {self.source} as a where {self._same("a", "note")} for share skip locked;
        if not found and exists (select from {self.source} as a where {self._same("a", "note")}) then continue; end if;
        perform from {self.target} as b where {self._its_image("note")} for update skip locked;
        if not found and exists (select from {self.target} as b where {self._its_image("note")}) then continue; end if;
        {self._remove("note")};
      {self._put("note")};
        delete from {self.notes} as n where n._changeover_number = note._changeover_number;
        put := put + 1;
      end loop;
    exception
      when serialization_failure or deadlock_detected or query_canceled then raise;
      when sqlstate '{_LATE}' then
        raise exception using message = sqlerrm, errcode = 'lock_not_available';
      when others then
        if looked = 0 then raise; end if;
        if sqlstate = '55P03' then
          -- It stays noted, and what comes after it is for the next call.
          seen := _changeover_last;
          exit when looked = 1;
        end if;
        if looked > 1 then
          -- Those before it once more; then it is the first.
          _changeover_size := looked - 1;
          continue;
        end if;
        wrong := true;
        {self._fail_or_keep()}
    end;
    carried := carried + put;
    looked_in_all := looked_in_all + looked;
    exit when seen is not null or not wrong and (_changeover_size is null or looked < _changeover_size);
    _changeover_after := _changeover_last;
    if looked_in_all >= $1 then
      seen := _changeover_after;
      exit;
    end if;
    _changeover_size := $1 - looked_in_all;
  end loop;
  {self._together()}if carried > 0 then update {self.carried} set calls = calls + 1; end if;
  {f"perform {self.whole_function}();" if self.parts else ""}
end
$co_{self.tag}$"""
