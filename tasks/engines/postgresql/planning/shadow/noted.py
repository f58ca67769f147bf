"""Rows whose image could not be made at once: their keys are noted, and a function carries them over.

Notes commit with what they are about. Whoever carries one reads the row as it is then.

Values that have changed places stand in each other's way: each row is kept out by what another one had. The image that
is kept out makes room: it is put aside, and the note goes to the end. When its turn comes again, nothing is in the way
but a row that has the value now, wherever the notes of all those rows are, and however many they are. That, and no
more, is refused. What was put aside of it comes back, or stays aside while another row has its place.
"""

from dataclasses import dataclass

from tasks.engines.postgresql.drain import LATE, TOO_MUCH
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shadow.image import ITSELF, Image
from tasks.model.catalogue import Table
from tasks.model.names import quote

_LATE = "UP002"
"""A code that no server gives, within one function."""


@dataclass(frozen=True, kw_only=True)
class Noted(Image):
    """The notes of one direction."""

    notes: str
    """Quoted and qualified, like `carried`."""
    carried: str
    """A table of one row: what changed it last has carried over what was noted."""
    immediate: tuple[str, ...] = ()
    """Constraints of the target that may be checked at the commit: there nobody could note what they refuse."""

    @property
    def drain_function(self) -> str:
        """Name of the function that carries over what is noted."""
        return f'changeover."shadow_{self.direction}_drain_{self.tag}"'

    @property
    def drain(self) -> str:
        """The statement that carries over as many notes as are put for `{most}`, of those after the number `{after}`.

        It returns how many it has; the number to go on after, or NULL when it came to the last one; the highest number;
        and how many it has put aside, which come again at the end. For none it returns where to begin.
        """
        return f"select * from {self.drain_function}({{most}}, {{after}})"

    @property
    def tables(self) -> tuple[str, ...]:
        """What goes with the two tables."""
        return (self.notes, self.carried, self.aside)

    def create_tables(self, source: Table, target: Table) -> tuple[str, ...]:
        """Return the statements that make the tables of notes, of rows put aside, and of when something was carried.

        Notes are looked up by key, with the collation of the source, and read in order: those that have failed, and
        those that are gone and that an old snapshot keeps, must not be passed over every time.
        """
        found = {column.name: column for column in source.columns}
        columns = ", ".join(f"{quote(name)} {found[name].type} not null" for name in self.key)
        collations = {name: f" collate {one}" for name in self.key if (one := found[name].collation)}
        key = ", ".join(f"{quote(name)}{collations.get(name, '')}" for name in self.key)
        aside = ", ".join(
            f"{quote(c.name)} {c.type}{f' collate {c.collation}' if c.collation else ''}"
            for c in target.columns
            if c.generated is None
        )
        return (
            f"create table {self.notes} (_changeover_number bigint generated always as identity primary key,"
            " _changeover_failed text, _changeover_told boolean not null default false,"
            f" _changeover_again boolean not null default false, {columns})",
            f"create index on {self.notes} ({key})",
            *(
                f"create index on {self.notes} (_changeover_number) where {which}"
                for which in (
                    "_changeover_failed is null",
                    "_changeover_failed is not null",
                    "_changeover_failed is null and not _changeover_again",
                )
            ),
            f"create table {self.aside} ({aside})",
            f"create index on {self.aside} ({', '.join(quote(c) for c in self.key)})",
            f"create table {self.carried} (calls bigint not null)",
            f"insert into {self.carried} values (0)",
        )

    def finish(self) -> str:
        """Return the statement that carries over all that is noted, or fails: for the transaction of a swap.

        What is too much for its lock budget fails as a lock that could not be had: others wait for this transaction.

        It fails, too, where a write to a partition may have been noted nowhere.

        On the way back, what was refused before is what somebody has accepted to lose: a write, but no row.
        """
        failed, left = (
            f"(select count(*) from {self.notes} where _changeover_failed is {what})" for what in ("not null", "null")
        )
        if self.computed:
            failed = (
                f"({failed} + (select count(*) from changeover.rejections where migration = {literal(self.migration)}"
                f" and table_name = {literal(self.full_name)} and sqlstate = '{ITSELF}'))"
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
  -- The tables are locked: neither is read unless something was refused, and then along the keys.
  if exists (select from {self.notes} where _changeover_failed is not null) then
    set local enable_seqscan = off;
    if exists ({self.without_a_place}) then
      raise exception 'rows cannot be carried over' using errcode = 'integrity_constraint_violation';
    end if;
  end if;
end
$finish$"""

    @property
    def without_a_place(self) -> str:
        """The query for rows that have made room, and were refused: the target has not even what they were before."""
        return (
            f"select {self._noted('n')[1]} from {self.notes} as n where _changeover_failed is not null"
            f" and exists (select from {self.aside} as b where {self.its_image('n')})"
            f" and exists (select from {self.source} as a where {self.same('a', 'n')})"
            f" and not exists (select from {self.target} as b where {self.its_image('n')})"
        )

    def note(self, row: str, *, told: bool) -> str:
        """Return the statement that notes a row; `told`: that it is refused is known already."""
        columns, values = self._noted(row)
        return f"insert into {self.notes} (_changeover_told, {columns}) values ({str(told).lower()}, {values})"

    def _noted(self, row: str) -> tuple[str, str]:
        return ", ".join(quote(c) for c in self.key), ", ".join(f"{row}.{quote(c)}" for c in self.key)

    def at_once(self) -> str:
        """What is refused is refused now, whenever applications have their own constraints checked."""
        schema = self.target.rpartition(".")[0]
        return "".join(
            f"if exists (select from pg_catalog.pg_constraint where conrelid = {literal(self.target)}::regclass"
            f" and conname = {literal(name)}) then set constraints {schema}.{quote(name)} immediate; end if;\n"
            for name in self.immediate
        )

    def _fail(self) -> str:
        """Say that the note is refused, and put back what was put aside, while nobody changes the row.

        What was locked when the piece was tried is not any more: who has the row now, or has deleted it since, found
        no image to do the same to. Its note stays.
        """
        columns = ", ".join(quote(c) for c in (*(a.column for a in self.assignments), *self.kept))
        return f"""\
perform from {self.source} as a where {self.same("a", "note")} for share skip locked;
        if found or not (_changeover_held or exists (
          select from {self.source} as a where {self.same("a", "note")}
        )) then
          _changeover_held := found;
          update {self.notes} as n set _changeover_failed = sqlstate, _changeover_told = true, _changeover_again = false
          where n._changeover_number = note._changeover_number;
          if found and not note._changeover_told then {self.rejected() or "null;"}
          end if;
          begin
            insert into {self.target} as b ({columns}) overriding system value
              select {columns} from {self.aside} as b where _changeover_held and {self.its_image("note")};
            {self.forget("note")};
          exception when unique_violation or exclusion_violation then null;
          end;
          put := 1;
        end if;"""

    def _make_room(self) -> str:
        """Put the image aside, and the note at the end, unless a later one of the same row does for both.

        What somebody has locked stays as it is.
        """
        columns = ", ".join(quote(c) for c in (*(a.column for a in self.assignments), *self.kept))
        key, values = self._noted("note")
        return f"""\
perform from {self.source} as a where {self.same("a", "note")} for share skip locked;
          if found then
            perform from {self.target} as b where {self.its_image("note")} for update skip locked;
            _changeover_held := found;
            if found or not exists (select from {self.target} as b where {self.its_image("note")}) then
              if _changeover_held then
                {self.forget("note")};
                insert into {self.aside} ({columns})
                  select {columns} from {self.target} as b where {self.its_image("note")};
                delete from {self.target} as b where {self.its_image("note")};
              end if;
              delete from {self.notes} as n where n._changeover_number = note._changeover_number;
              if _changeover_later then
                put := 1;
              else
                insert into {self.notes} (_changeover_told, _changeover_again, {key})
                  values (note._changeover_told, true, {values});
                aside := aside + 1;
              end if;
            end if;
          end if;"""

    def _refused(self) -> str:
        """What to do with the note that is alone in its piece.

        Who is in the way had that value when this row took it, or before. So his note is there by then, and has a lower
        number than this one has after its turn at the end; where it is gone for a later one, his image has made room.
        """
        return f"""\
if sqlstate in ('23505', '23P01') then
          put := 0;
          -- By its key alone: most of the notes may have a higher number, and have not failed.
          _changeover_later := exists (select from (
            select n._changeover_number as number, n._changeover_failed as failed
            from {self.source} as a join {self.notes} as n on {self.same("n", "a")}
            where {self.same("a", "note")} offset 0
          ) as n where n.number > note._changeover_number and n.failed is null);
          if not note._changeover_again or _changeover_later then
          {self._make_room()}
          else
            if _changeover_open is null or _changeover_open < note._changeover_number then
              select coalesce(min(n._changeover_number), 9223372036854775807) into _changeover_open
              from {self.notes} as n where n._changeover_failed is null and not n._changeover_again
                and n._changeover_number >= coalesce(_changeover_open, 0);
            end if;
            -- Others may have been committed since: few notes fail, so each of them looks.
            if _changeover_open > note._changeover_number and not exists (
              select from {self.notes} as n where n._changeover_failed is null and not n._changeover_again
                and n._changeover_number < note._changeover_number
            ) then
        {self._fail()}
            end if;
          end if;
        else
        {self._fail()}
        end if;"""

    def _carry_one(self) -> str:
        """Each statement sees what was committed before it. The row first, then its image, as applications lock them.

        What somebody has locked stays noted. A row that was not there, and comes meanwhile, nobody holds still: whoever
        brings it, and changes it, makes its image.
        """
        return f"""\
perform from {self.source} as a where {self.same("a", "note")} for share skip locked;
        _changeover_held := found;
        if not found and exists (select from {self.source} as a where {self.same("a", "note")}) then continue; end if;
        perform from {self.target} as b where {self.its_image("note")} for update skip locked;
        if not found and exists (select from {self.target} as b where {self.its_image("note")}) then continue; end if;
        {self.remove("note")};
        if _changeover_held then
      {self.put("note")};
        end if;
        {self.forget("note")};
        delete from {self.notes} as n where n._changeover_number = note._changeover_number;
        put := put + 1;"""

    def create_drain_function(self) -> str:
        """Return the statement that makes the function.

        It goes in pieces of as many notes as nothing is wrong with: each subtransaction that writes takes an xid of its
        own. All at once, which is what is asked for under locks, ends within the lock budget, or not at all. Nobody has
        analysed the notes, so the server would take half a percent of them to be of one row, and read all of them.
        """
        return f"""\
create or replace function {self.drain_function}(
  bigint, bigint, out carried bigint, out seen bigint, out ahead bigint, out aside bigint)
language plpgsql security definer {self.settings()} set enable_seqscan = off as $co_{self.tag}$
#variable_conflict use_column
declare
  note record;
  put bigint;
  looked bigint;
  looked_in_all bigint := 0;
  wrong boolean;
  _changeover_last bigint;
  late constant timestamptz := case when $1 is null then {LATE} end;
  _changeover_size bigint := $1;
  _changeover_after bigint := $2;
  _changeover_held boolean;
  _changeover_open bigint;
  _changeover_later boolean;
begin
  carried := 0;
  aside := 0;
  select max(n._changeover_number) into ahead from {self.notes} as n;
  if $1 = 0 then
    select n._changeover_number - 1 into seen from {self.notes} as n
    where n._changeover_failed is null order by n._changeover_number limit 1;
    return;
  end if;
  {self.at_once()}loop
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
        {self._carry_one()}
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
        begin
        {self._refused()}
        exception when lock_not_available then
          -- Somebody is bringing what it stands aside for, or deals with it: the same as above.
          put := 0;
          seen := _changeover_last;
        end;
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
  if carried > 0 then update {self.carried} set calls = calls + 1; end if;
  {f"perform {self.whole_function}();" if self.parts else ""}
end
$co_{self.tag}$"""
