"""The trigger that keeps both shapes of a table in step.

One function serves INSERT and UPDATE. Before the swap the old shape is the truth: `up` follows it, unless an
application already writes the new columns. After the swap it is the other way round.

The function itself does not fail a statement: an expression that raises leaves its column NULL and a row in
`changeover.rejections`, and the gate refuses. (Where that column is NOT NULL, as a retired one may be until the
swap, PostgreSQL refuses the row.) An exception block that writes nothing takes no
transaction id, so it costs no subtransaction overflow.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.shape import Group, Shape, Target
from tasks.model.names import OWN_TRIGGERS, quote
from tasks.model.plan import differing

PINNED = {"timezone": "UTC", "datestyle": "ISO, MDY", "intervalstyle": "postgres", "extra_float_digits": "1"}
"""The settings of our own sessions, as `connect` makes them."""
OURS = "set vacuum_cost_page_hit = 9973"
"""Says to triggers of ours that rows are filled, or carried from table to table, by us.

Who is no superuser may give a function only settings that the server knows: of those this one is read by nobody but
VACUUM and ANALYZE. What is set for a function holds in the triggers of others that it fires, too, and ends with it.
"""
NOT_OURS = "pg_catalog.current_setting('vacuum_cost_page_hit') operator(pg_catalog.<>) '9973'"
ROW = "_changeover_row"
BEFORE_ROW = "_changeover_before"
KEPT_ROW = "_changeover_kept"
FOLLOWS = "_changeover_follows"


def literal(value: str) -> str:
    """Quote a string for SQL, whatever `standard_conforming_strings` says."""
    quoted = "'" + value.replace("'", "''") + "'"
    return "E" + quoted.replace("\\", "\\\\") if "\\" in value else quoted


@dataclass(frozen=True, kw_only=True)
class DualWrite:
    """The trigger function of one table in one migration."""

    migration: str
    table: str
    """Quoted and qualified."""
    full_name: str
    alias: str
    """The table's bare name: the author may qualify columns with it."""
    search_path: str
    shape: Shape
    key: tuple[str, ...]

    @property
    def tag(self) -> str:
        """A short name, the same in every process, for the objects of this table in this migration."""
        return hashlib.sha256(f"{self.migration}\0{self.full_name}".encode()).hexdigest()[:12]

    @property
    def function_name(self) -> str:
        """Qualified name of the trigger function."""
        return f'changeover."dual_write_{self.tag}"'

    @property
    def asking_name(self) -> str:
        """Qualified name of the function that says whether a statement is not ours."""
        return f'changeover."not_ours_{self.tag}"'

    @property
    def trigger_names(self) -> tuple[str, str]:
        """Names of the INSERT and the UPDATE trigger; triggers fire by name, and these must come last."""
        return (f"{OWN_TRIGGERS}{self.tag}_insert", f"{OWN_TRIGGERS}{self.tag}_update")

    def create(self) -> tuple[str, ...]:
        """Return the statements that install the function and its triggers."""
        insert, update = self.trigger_names
        return (
            self.function(swapped=False),
            *self._asking(),
            f"create trigger {quote(insert)} before insert on {self.table} "
            f"for each row execute function {self.function_name}()",
            f"create trigger {quote(update)} before update on {self.table} "
            f"for each row when ({self._condition()}) execute function {self.function_name}()",
            f"alter table {self.table} enable always trigger {quote(insert)}, enable always trigger {quote(update)}",
        )

    def drop(self) -> tuple[str, ...]:
        """Return the statements that remove them."""
        insert, update = self.trigger_names
        return (
            f"drop trigger if exists {quote(insert)} on {self.table}",
            f"drop trigger if exists {quote(update)} on {self.table}",
            f"drop function if exists {self.function_name}()",
            f"drop function if exists {self.asking_name}()",
        )

    def _condition(self) -> str:
        """Wake up only for rows whose columns matter, and never for the backfill."""
        changed = _differs("old", "new", self._watched())
        return f"{self.asking_name}() and {changed}"

    def _asking(self) -> tuple[str, str]:
        """Return what lets the server ask for the setting once a statement, and not for each row of it.

        It is called immutable, so what it returns is put into the condition when a statement first meets the trigger,
        and forgotten with the statement: conditions of triggers are in no plan that is kept. No statement changes the
        setting while it runs. Whoever writes to the table calls it, whatever new functions may be called by.
        """
        return (
            f"create or replace function {self.asking_name}() returns boolean language plpgsql immutable parallel safe"
            f" as $co_{self.tag}$begin return {NOT_OURS}; end$co_{self.tag}$",
            f"grant execute on function {self.asking_name}() to public",
        )

    def _watched(self) -> tuple[str, ...]:
        old, new = self.shape.old(swapped=False), self.shape.new(swapped=False)
        columns = [
            *(t.before for t in self.shape.targets),
            *(r.before for r in self.shape.retired),
            *(old[s] for t in self.shape.targets for s in t.sources),
            *(new[s] for r in self.shape.retired for s in r.sources),
            *self.key,
        ]
        return tuple(dict.fromkeys(columns))

    def _settings(self) -> str:
        """Names mean the same in every session; and values too, where they depend on settings."""
        path = f"set search_path = {self.search_path}, pg_temp"
        pinned = [f"set {name} = {literal(value)}" for name, value in PINNED.items()] if self.shape.pinned else []
        return " ".join([path, *pinned])

    def function(self, *, swapped: bool, strict: bool = False) -> str:
        """Return CREATE OR REPLACE FUNCTION for before or after the swap.

        `strict` lets errors out: the rehearsal wants to see them.
        """
        side = _After(self, strict) if swapped else _Before(self, strict)
        body = "\n".join(side.group(group) for group in self.shape.groups())
        return f"""\
create or replace function {self.function_name}() returns trigger
language plpgsql security definer {self._settings()} as $co_{self.tag}$
#variable_conflict use_column
declare
  {ROW} record;
  {BEFORE_ROW} record;
  {KEPT_ROW} record;
  {FOLLOWS} boolean;
  _changeover_insert constant boolean := tg_op = 'INSERT';
begin
  {ROW} := new;
  {BEFORE_ROW} := new;
  if tg_op = 'UPDATE' then {BEFORE_ROW} := old; end if;
{body}
  return {ROW};
end
$co_{self.tag}$"""


def _differs(left: str, right: str, columns: Sequence[str]) -> str:
    """Compare images, not values: 1.0 and 1.00, or two spellings of a citext, are a change."""
    if not columns:
        return "false"
    a = ", ".join(f"{left}.{quote(c)}" for c in columns)
    b = ", ".join(f"{right}.{quote(c)}" for c in columns)
    return f"({differing(a, b, exact=True)})"


def _all_null(columns: Sequence[str], row: str = ROW) -> str:
    return " and ".join(f"{row}.{quote(c)} is null" for c in columns) or "false"


class _Side:
    """Renders the body of the function for one side of the swap."""

    swapped: bool

    def __init__(self, dual: DualWrite, strict: bool) -> None:
        self.dual = dual
        self.strict = strict
        self.old = dual.shape.old(swapped=self.swapped)
        self.new = dual.shape.new(swapped=self.swapped)

    def assign(self, names: Mapping[str, str], wanted: Sequence[tuple[str, str, Sequence[str]]], direction: str) -> str:
        """Render `column := expression` for (physical column, expression, names it reads).

        Without a direction errors are let out.
        """
        read = dict.fromkeys(name for _, _, sources in wanted for name in sources)
        declared = "\n".join(
            f"        {quote(name)} constant {self._type(names[name])} := {ROW}.{quote(names[name])};" for name in read
        )
        # The line break keeps a trailing comment of the author from swallowing the parenthesis.
        assignments = "\n".join(f"        {ROW}.{quote(c)} := ({e}\n);" for c, e, _ in wanted)
        return f"""\
      <<{quote(self.dual.alias)}>>
      declare
{declared}
      begin
{assignments}
{self._rescue([c for c, _, _ in wanted], direction)}      end;"""

    def _type(self, physical: str) -> str:
        """Types are recorded under the names of before the swap."""
        if not self.swapped:
            return self.dual.shape.type_of(physical)
        before = {t.after: t.before for t in self.dual.shape.targets}
        before |= {r.after: r.before for r in self.dual.shape.retired}
        return self.dual.shape.type_of(before.get(physical, physical))

    def _rescue(self, columns: Sequence[str], direction: str) -> str:
        if self.strict or not direction:
            return ""
        nulls = "\n".join(f"        {ROW}.{quote(c)} := null;" for c in columns)
        return f"""\
      exception
        when serialization_failure or deadlock_detected then raise;
        when others then
{nulls}
        insert into changeover.rejections (migration, table_name, direction, sqlstate)
        values ({literal(self.dual.migration)}, {literal(self.dual.full_name)}, '{direction}', sqlstate);
"""

    def up(self, targets: Sequence[Target]) -> str:
        wanted = [(self.new[t.name], t.up, t.sources) for t in targets]
        return self.assign(self.old, wanted, "up") if wanted else "      null;"

    def up_where(self, condition: str, target: Target) -> str:
        return f"    if {condition} then\n{self.up([target])}\n    end if;"

    def down(self, group: Group) -> str:
        wanted = [(self.old[r.name], r.down, r.sources) for r in group.retired]
        return self.assign(self.new, wanted, "down") if wanted else "      null;"

    def down_where_changed(self, group: Group) -> str:
        """Each old column follows what it is made of: of the others nobody has said anything."""
        return "\n".join(
            f"    if {self.changed([self.new[s] for s in r.sources])} then\n"
            f"{self.assign(self.new, [(self.old[r.name], r.down, r.sources)], 'down')}\n    end if;"
            for r in group.retired
        )

    def changed(self, columns: Sequence[str]) -> str:
        return _differs(BEFORE_ROW, ROW, tuple(dict.fromkeys(columns)))

    def sources(self, target: Target) -> list[str]:
        return [self.old[s] for s in target.sources]

    def sources_of_down(self, group: Group) -> list[str]:
        return [self.new[s] for r in group.retired for s in r.sources]


class _Before(_Side):
    swapped = False

    def group(self, group: Group) -> str:
        if not group.targets:
            return self._only_retired(group)
        return f"""\
  if _changeover_insert then
    if {_all_null([t.before for t in group.targets])} then
{self.up(group.targets)}
    else
{self._inserted(group)}
    end if;
  elsif {self.changed([r.before for r in group.retired])} then
{self._followed(group)}
  else
{self._updated(group)}
  end if;"""

    def _followed(self, group: Group) -> str:
        """An old application says a column: what is made of it follows, and what nothing has filled yet."""
        unfilled = _all_null([t.before for t in group.targets], BEFORE_ROW)
        return "\n".join(self.up_where(f"({unfilled}) or {self.changed(self.sources(t))}", t) for t in group.targets)

    def _inserted(self, group: Group) -> str:
        """A new application says what it means; what it leaves out, and has no default in its view, is made by `up`.

        First what `down` reads, where NULL cannot be meant: the old column has drawn a number, or got its default.
        """
        fed, free = group.fed, group.free
        needed = [self.up_where(f"{ROW}.{quote(t.before)} is null", t) for t in fed if t.drawn or t.not_null]
        return "\n".join(
            [*needed, self.down(group), *(self.up_where(f"{ROW}.{quote(t.before)} is null", t) for t in free)]
        )

    def _updated(self, group: Group) -> str:
        """Nothing is said of the old columns: they follow what is said of the new ones, which follow the rest.

        What an application says of a column that no `down` reads is what it means.
        """
        fed, free = group.fed, group.free
        unfilled = _all_null([t.before for t in group.targets], BEFORE_ROW)
        follow = {t: f"({unfilled}) or {self.changed(self.sources(t))}" for t in group.targets}
        said = {t: f"not {self.changed([t.before])}" for t in group.targets}
        back = [self.up_where(f"({unfilled}) and {said[t]}", t) for t in fed if len(fed) > 1]
        there = [self.up_where(follow[t], t) for t in fed]
        both = [f"    if {self.changed([t.before for t in fed])} then", *back, self.down_where_changed(group)]
        both += ["    else", *there, "    end if;"]
        return "\n".join([*(both if fed else []), *(self.up_where(f"{said[t]} and ({follow[t]})", t) for t in free)])

    def _only_retired(self, group: Group) -> str:
        """Where NULL can be stored it may be what an old application means; where not, a new one left it out."""
        if not any(r.not_null for r in group.retired):
            return "  -- the column is still the old application's own"
        return f"""\
  if _changeover_insert and {_all_null([r.before for r in group.retired])} then
{self.down(group)}
  end if;"""


class _After(_Side):
    swapped = True

    def group(self, group: Group) -> str:
        if not group.retired:
            return self._only_targets(group)
        public = [r.after for r in group.retired if not r.hidden]
        straggler_inserts = " or ".join(f"{ROW}.{quote(c)} is not null" for c in public) or "false"
        # Who says a value of one shape, and of a column that both have, means the value.
        read, targets = self.sources_of_down(group), {t.after for t in group.targets}
        lost = [self.old[column] for column in group.lost]
        follows = "\n".join(self.up_where(self.changed(self.sources(t)), t) for t in group.following) or "    null;"
        return f"""\
  if _changeover_insert then
    if {straggler_inserts} then
{self._inserted_by_old(group)}
    else
{self.down(group)}{self._by_position(group)}{self._of_lost(group)}
    end if;
{self._needed(group)}
  elsif {self.changed([c for c in read if c in targets])} then
{self.down_where_changed(group)}
  elsif {self.changed([*(r.after for r in group.retired), *lost])} then
{follows}
  elsif {self.changed([c for c in read if c not in targets])} then
{self.down_where_changed(group)}
{self._shared(group)}  end if;"""

    def _inserted_by_old(self, group: Group) -> str:
        """What stands for an old column is not lost with what is made of several, where that fails."""
        fed = [t for t in group.following if t in group.fed]
        free = [t for t in group.following if t not in group.fed]
        return "\n".join(self.up(some) for some in (fed, free) if some) or "      null;"

    def _of_lost(self, group: Group) -> str:
        """A column that goes without a `down` has its default in rows of new applications, too.

        So it tells of an old one only where nothing is said of the new columns; and then of what is made of it alone.
        """
        free = [t for t in group.following if t not in group.fed]
        if not group.lost or not free:
            return ""
        given = " or ".join(f"{ROW}.{quote(self.old[column])} is not null" for column in group.lost)
        return f"""
      if {_all_null([t.after for t in group.targets])} and ({given}) then
{self.up(free)}
      end if;"""

    def _shared(self, group: Group) -> str:
        """What `up` reads beside the old columns changes for both shapes: the new value stays, the old one follows it.

        Otherwise the old value would be one from which `up` no longer makes the new one, and no gate could pass. Where
        `up` still makes it, nobody has said anything about the old value: it stays, whatever `down` would make of it.
        """
        retired = {r.after for r in group.retired}
        read = [self.old[s] for t in group.fed for s in t.sources]
        shared = [] if group.volatile else [c for c in read if c not in retired]
        if not shared:
            return ""
        targets = [t.after for t in group.fed]
        wanted = [(t.after, t.up, t.sources) for t in group.fed]
        return f"""\
  elsif {self.changed(shared)} then
    {KEPT_ROW} := {ROW};
    begin
{self.assign(self.old, wanted, "")}
      {FOLLOWS} := {_differs(KEPT_ROW, ROW, targets)};
    exception
      when serialization_failure or deadlock_detected then raise;
      when others then {FOLLOWS} := true;
    end;
    {ROW} := {KEPT_ROW};
    if {FOLLOWS} then
{self.down(group)}
    end if;
"""

    def _needed(self, group: Group) -> str:
        """An old application leaves new columns out; where NULL is refused, and `down` gave none, they get `up`."""
        needed = [t for t in group.targets if t.not_null]
        return "\n".join(self.up_where(f"{ROW}.{quote(t.after)} is null", t) for t in needed)

    def _by_position(self, group: Group) -> str:
        """A hidden column is given through a view of the old version, or by position: both know the old shape.

        It has no default of its own. So where nothing but defaults is in the new columns, the old value is what was
        meant, even if `down` makes the same of them.
        """
        hidden = [r.after for r in group.retired if r.hidden]
        if not hidden or not group.targets:
            return ""
        given = " or ".join(f"{BEFORE_ROW}.{quote(c)} is not null" for c in hidden)
        unsaid = " and ".join(self._unsaid(t) for t in group.following) or "false"
        restored = "\n".join(f"        {ROW}.{quote(c)} := {BEFORE_ROW}.{quote(c)};" for c in hidden)
        return f"""
      if ({given}) and ({self.changed(hidden)} or ({unsaid})) then
{restored}
{self.up(group.following)}
      end if;"""

    def _unsaid(self, target: Target) -> str:
        """Tell, of a row to insert, whether a new column holds what it holds without a word."""
        value = f"{BEFORE_ROW}.{quote(target.after)}"
        if target.default is None:
            return f"{value} is null"
        default = f"({target.default}\n)::{target.type}"
        return f"({value} is null or not ({differing(value, default, exact=True)}))"

    def _only_targets(self, group: Group) -> str:
        """No column is fed back. Only an old application still writes columns that are going to be dropped."""
        going = [self.old[column] for column in group.lost]
        straggler = " or ".join(f"{ROW}.{quote(c)} is not null" for c in going)
        empty = _all_null([t.after for t in group.targets])
        if straggler:
            wanted = list(group.targets)
            # A new application always gives what may not be NULL.
            old = "true" if any(t.not_null for t in wanted) else straggler
            condition = (
                f"(_changeover_insert and {empty} and ({old})) or (not _changeover_insert and {self.changed(going)})"
            )
        else:
            # Where NULL is refused, a row of an old application gets what `up` says.
            wanted = [t for t in group.targets if t.not_null]
            condition = f"_changeover_insert and {_all_null([t.after for t in wanted])}"
        if not wanted:
            return "  -- the new columns are the application's own now"
        up = self.assign(self.old, [(t.after, t.up, t.sources) for t in wanted], "up")
        return f"""\
  if {condition} then
{up}
  end if;"""
