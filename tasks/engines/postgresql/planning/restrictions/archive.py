"""Rows that a new constraint would refuse move to a table of their own, and come back on a rollback.

Orphans. The foreign key stands first, not yet validated: from then on nobody makes another such row. Then the keys of
those that are there are listed, under no lock that an application would notice, and the rows move in short
transactions, each of them looked at once more: a row that has found its parent meanwhile stays.

Duplicates. Nothing keeps new ones away before the unique index is there, so a trigger notes the keys of rows that are
written while it is being built, and the build moves those that are duplicates, too. Which of two rows stays is a
strict order, so that of each set one does, whatever is looked at first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.checks.obstacles import visible
from tasks.engines.postgresql.planning.checks.require import existing_column
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.keys import choose_key, key_columns
from tasks.engines.postgresql.planning.restrictions.foreign_keys import orphaned
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import OWN_TRIGGERS, quote
from tasks.model.operations import CreateConstraint
from tasks.model.plan import Finding, Requirement
from tasks.model.spec import BackfillOptions
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step, Validation

_OWN = {
    "archived_at": "timestamptz not null default pg_catalog.clock_timestamp()",
    "archived_by": "text not null default {}",
}
"""Columns of the archive beside those of the table."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """Where the rows go, and which."""

    tag: str
    table: str
    """Quoted and qualified, like `archive`."""
    archive: str
    migration: str
    search_path: str
    columns: tuple[str, ...]
    stored: tuple[str, ...]
    """Those that are not computed from others."""
    key: tuple[str, ...]
    broken: str
    """The condition of a row `child` that has to go."""
    written: tuple[str, ...] = ()
    """Columns whose writes are noted while the rows move."""
    equal: tuple[str, ...] = ()
    """Columns in which a row equals those that go because of it: a note stands for all of them."""

    def create(self) -> tuple[str, ...]:
        """Return the statements that make it, and what moves rows there and back."""
        own = ", ".join(f"add column {name} {what.format(literal(self.migration))}" for name, what in _OWN.items())
        keys = ", ".join(f"t.{quote(one)}" for one in self.key)
        return (
            f"create table {self.archive} (like {self.table})",
            f"alter table {self.archive} {own}",
            f"create table {self.listed} as select {keys} from {self.table} as t with no data",
            self._function("archive", self._there()),
            self._function("restore", self._back()),
        )

    def list_rows(self) -> tuple[str, ...]:
        """Return the statements that note the keys of the rows that have to go; they may take long."""
        keys = ", ".join(f"child.{quote(one)}" for one in self.key)
        return (
            f"delete from {self.listed}",
            f"insert into {self.listed} select {keys} from {self.table} as child where {self.broken}",
        )

    def move(self, most: str) -> str:
        """Return the call that moves rows, and returns how many keys it has dealt with."""
        return f"select {self._name('archive')}({most})"

    def restore(self, most: str) -> str:
        """Return the call that moves rows back."""
        return f"select {self._name('restore')}({most})"

    def drop(self) -> tuple[str, ...]:
        """Return the statements that end it; the archive itself stays."""
        return (
            f"drop function if exists {self._name('archive')}(bigint)",
            f"drop function if exists {self._name('restore')}(bigint)",
            f"drop table if exists {self.listed}",
        )

    def give_back(self) -> tuple[str, ...]:
        """Return the statements that drop the archive once it is empty."""
        return (
            self.restore("null"),
            f"""\
do $empty$
begin
  if exists (select from {self.archive}) then
    raise exception 'rows are left in the archive';
  end if;
end
$empty$""",
            *self.drop(),
            f"drop table if exists {self.archive}",
        )

    def note_writes(self) -> tuple[str, ...]:
        """Return the statements that begin to note which rows are written."""
        keys = ", ".join(f"new.{quote(one)}" for one in self.key)
        columns = ", ".join(quote(one) for one in dict.fromkeys((*self.written, *self.key)))
        return (
            f"create or replace function {self._name('written')}() returns trigger language plpgsql security definer"
            f" set search_path = {self.search_path}, pg_temp as $co_{self.tag}$\n"
            f"begin\n  insert into {self.listed} values ({keys});\n  return null;\nend\n$co_{self.tag}$",
            f"create trigger {quote(self.trigger)} after insert or update of {columns} on {self.table}"
            f" for each row execute function {self._name('written')}()",
            f"alter table {self.table} enable always trigger {quote(self.trigger)}",
        )

    def note_no_more(self) -> tuple[str, ...]:
        """Return the statements that end it."""
        return (
            f"drop trigger if exists {quote(self.trigger)} on {self.table}",
            f"drop function if exists {self._name('written')}()",
        )

    @property
    def trigger(self) -> str:
        """The name of the trigger that notes writes; it sorts last."""
        return f"{OWN_TRIGGERS}{self.tag}_written"

    @property
    def listed(self) -> str:
        """The table with the keys of rows that have to go."""
        return f'changeover."archive_{self.tag}"'

    def _name(self, role: str) -> str:
        return f'changeover."dual_{role}_{self.tag}"'

    def _function(self, role: str, body: str) -> str:
        return (
            f"create or replace function {self._name(role)}(most bigint) returns bigint language plpgsql"
            f" set search_path = {self.search_path}, pg_temp as $co_{self.tag}$\n"
            f"#variable_conflict use_variable\n{body}\n$co_{self.tag}$"
        )

    def _there(self) -> str:
        if self.equal:
            return self._equals_there()
        same = " and ".join(f"child.{quote(one)} = taken.{quote(one)}" for one in self.key)
        shown, gone = _listed(self.columns), _listed(self.columns, "gone.")
        return f"""\
declare
  places tid[];
begin
  places := array(select l.ctid from {self.listed} as l limit most);
  with taken as (delete from {self.listed} as l where l.ctid = any (places) returning l.*),
  gone as (delete from {self.table} as child using taken where {same} and {self.broken} returning child.*)
  insert into {self.archive} ({shown}) select {gone} from gone;
  return cardinality(places);
end"""

    def _equals_there(self) -> str:
        """Move those that equal a noted row, too: it may be the one that stays, and the one before it has no note.

        They can be many. Then a part goes, and the notes stay for the next call.
        """
        mine, theirs, same = (
            " and ".join(f"{one}.{quote(column)} = {other}.{quote(column)}" for column in columns)
            for one, other, columns in (
                ("noted", "taken", self.key),
                ("child", "sets", self.equal),
                ("child", "picked", self.key),
            )
        )
        shown, gone = _listed(self.columns), _listed(self.columns, "gone.")
        return f"""\
declare
  places tid[];
  found_rows bigint;
begin
  places := array(select l.ctid from {self.listed} as l limit most);
  with taken as (delete from {self.listed} as l where l.ctid = any (places) returning l.*),
  sets as (select distinct {_listed(self.equal, "noted.")} from {self.table} as noted join taken on {mine}),
  picked as (
    select {_listed(self.key, "child.")} from {self.table} as child join sets on {theirs}
    where {self.broken} limit 2 * most
  ),
  gone as (delete from {self.table} as child using picked where {same} and {self.broken} returning child.*),
  archived as (insert into {self.archive} ({shown}) select {gone} from gone),
  again as (
    insert into {self.listed} select taken.* from taken where 2 * most <= (select count(*) from picked)
  )
  select count(*) into found_rows from picked;
  return greatest(found_rows, cardinality(places));
end"""

    def _back(self) -> str:
        return f"""\
declare
  places tid[];
begin
  places := array(select a.ctid from {self.archive} as a limit most);
  with back as (delete from {self.archive} as a where a.ctid = any (places) returning a.*)
  insert into {self.table} ({_listed(self.stored)}) overriding system value
  select {_listed(self.stored, "back.")} from back;
  return cardinality(places);
end"""


def _listed(columns: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{quote(column)}" for column in columns)


def archive_orphans(op: CreateConstraint, draft: TableDraft, backfill: BackfillOptions, where: str) -> None:
    """Plan that the rows that refer to nothing move to the archive between the new foreign key and its validation."""
    assert op.references is not None
    assert op.columns is not None
    parent = draft.spec.resolve_table(op.references.table, f"{where}.references")
    pairs = dict(zip(op.columns, op.references.columns, strict=True))
    broken = orphaned(parent, pairs, full=op.references.match_type == "FULL")
    archive = _archive(op, draft, backfill, broken, f"{where}.orphans")
    draft.cleared += [*_steps(archive, draft, op.name), _counted(archive, draft, op.name)]


def archive_duplicates(op: CreateConstraint, draft: TableDraft, backfill: BackfillOptions, where: str) -> str:
    """Plan that of rows that are equal one stays, before the unique index is built; return what its build calls."""
    assert op.columns is not None
    assert op.survivor is not None
    chosen = existing_column(draft, op.survivor.column, f"{where}.survivor")
    usable = [i for i in draft.table.indexes if i.valid and not i.partial and " USING btree " in i.definition]
    if not any({*i.columns[: len(op.columns)]} == {*op.columns} for i in usable):
        raise PreflightError(
            f"no index of {draft.full_name} begins with {', '.join(op.columns)}",
            where=f"{where}.duplicates",
            hint="Build one first: create_index. It finds the row that stays.",
        )
    draft.key = choose_key(draft, backfill.key)
    same = " and ".join(f"other.{quote(one)} = child.{quote(one)}" for one in op.columns)
    mine, theirs = f"child.{quote(chosen.name)}", f"other.{quote(chosen.name)}"
    keys = [", ".join(f"{alias}.{quote(one)}" for one in draft.key) for alias in ("other", "child")]
    sign = ">" if op.survivor.keep == "greatest" else "<"
    # NULL never stays where there is a value; of equals, the first key does.
    better = (
        f"{theirs} {sign} {mine} or ({mine} is null and {theirs} is not null)"
        f" or ({theirs} is not distinct from {mine} and row({keys[0]}) < row({keys[1]}))"
    )
    broken = f"exists (select from {draft.real} as other where {same} and ({better}))"
    draft.rehearsal.try_on_new(f"select {mine} > {mine} from {{table}} as child", where, "Name another column.")
    archive = _archive(op, draft, backfill, broken, f"{where}.duplicates")
    lock = (Lock(table=draft.real, mode=LockMode.SHARE_ROW_EXCLUSIVE),)
    noted = Step(
        key=f"constrain/{draft.full_name}/note for {op.name}",
        phase=Phase.CONSTRAIN,
        title=f"note which rows of {draft.full_name} are written",
        undo="drop the trigger",
        action=ShortTransaction(
            locks=lock,
            forward=archive.note_writes(),
            inverse=archive.note_no_more(),
            inverse_locks=(draft.exclusive,),
        ),
    )
    draft.unique_indexes += [noted, *_steps(archive, draft, op.name)]
    draft.cleared.append(
        Step(
            key=f"constrain/{draft.full_name}/noted for {op.name}",
            phase=Phase.CONSTRAIN,
            title=f"note no more which rows of {draft.full_name} are written: {op.name} holds",
            action=ShortTransaction(locks=(draft.exclusive,), forward=archive.note_no_more()),
        )
    )
    draft.cleared.append(_counted(archive, draft, op.name))
    return archive.move("{most}")


def _archive(op: CreateConstraint, draft: TableDraft, backfill: BackfillOptions, broken: str, where: str) -> Archive:
    _refuse(draft, backfill.user_triggers, where)
    schema, name = draft.spec.split_name(op.archive_name)
    if draft.spec.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=where, hint="Choose another name for the archive.")
    draft.key = choose_key(draft, backfill.key)
    archive = Archive(
        tag=sha256(f"{draft.migration}\0{draft.full_name}\0{op.name}".encode()).hexdigest()[:12],
        table=draft.real,
        archive=f"{quote(schema)}.{quote(name)}",
        migration=draft.migration,
        search_path=draft.search_path,
        columns=tuple(column.name for column in draft.table.columns),
        stored=tuple(column.name for column in draft.table.columns if column.generated is None),
        key=draft.key,
        broken=broken,
        written=()
        if op.references is not None
        else (op.columns or ()) + ((op.survivor.column,) if op.survivor else ()),
        equal=() if op.references is not None else op.columns or (),
    )
    draft.spec.created[op.archive_name] = draft.spec.created[f"{schema}.{name}"] = archive.archive
    draft.spec.steps += _around(archive, draft, f"{schema}.{name}")
    draft.requirements += _requirements(archive, draft)
    draft.findings.append(
        Finding(
            rule="ARC-01",
            severity="warning",
            message=f"after the approval, rows of {draft.full_name} that {op.name} would refuse move to"
            f" {schema}.{name}; a rollback brings them back, and contract leaves them there",
            where=where,
        )
    )
    return archive


def _refuse(draft: TableDraft, triggers: str, where: str) -> None:
    """Nothing may happen to other rows when one goes, nor when it comes back."""
    if draft.table.inbound:
        keys = ", ".join(f"{key.name} of {key.table}" for key in draft.table.inbound)
        raise PreflightError(
            f"rows of {draft.full_name} that are archived may be referred to, by {keys}",
            where=where,
            hint="Archive the rows that refer to them first; drop those foreign keys for the time of the migration.",
        )
    firing = [
        t.name
        for t in draft.table.triggers
        if {"delete", "insert"} & {*t.events} and t.enabled in ("origin", "always", "replica")
    ]
    if firing and triggers != "fire":
        raise PreflightError(
            f"rows that go and come back would fire the triggers {', '.join(firing)} of {draft.full_name}",
            where=where,
            hint="Write `backfill: {user_triggers: fire}` if they may run.",
        )
    visible(draft, draft.real, where)
    taken = [column.name for column in draft.table.columns if column.name in _OWN]
    if taken:
        raise PreflightError(
            f"{draft.full_name} has a column {taken[0]}, which the archive needs for itself",
            where=where,
            hint="Rename it in a migration of its own first.",
        )


def _around(archive: Archive, draft: TableDraft, name: str) -> Iterator[Step]:
    """Undone last: by then the foreign key is gone, and the rows can come back."""
    yield Step(
        key=f"expand/{name}/create",
        phase=Phase.EXPAND,
        title=f"create table {name} for rows of {draft.full_name} that are in the way",
        undo="bring the rows back, and drop it",
        action=ShortTransaction(
            forward=archive.create(),
            inverse=archive.give_back(),
            inverse_before=archive.restore("{most}"),
        ),
    )
    yield Step(
        key=f"contract/{draft.full_name}/archive",
        phase=Phase.CONTRACT,
        title=f"leave the rows in {name} for good",
        undo="nothing: this is the point of no return",
        action=ShortTransaction(forward=archive.drop()),
    )


def _steps(archive: Archive, draft: TableDraft, constraint: str) -> list[Step]:
    return [
        Step(
            key=f"constrain/{draft.full_name}/list for {constraint}",
            phase=Phase.CONSTRAIN,
            title=f"list the rows of {draft.full_name} that {constraint} would refuse, while applications write",
            action=Validation(table=draft.real, forward=archive.list_rows()),
        ),
        Step(
            key=f"constrain/{draft.full_name}/archive for {constraint}",
            phase=Phase.CONSTRAIN,
            title=f"move them to {archive.archive}, in short transactions",
            undo="nothing here: they come back once the constraint is gone",
            action=ShortTransaction(forward=(archive.move("null"),), before=archive.move("{most}")),
        ),
    ]


def _counted(archive: Archive, draft: TableDraft, constraint: str) -> Step:
    """After the last one has moved: calls that a kill cut off have counted nothing."""
    return Step(
        key=f"constrain/{draft.full_name}/archived for {constraint}",
        phase=Phase.CONSTRAIN,
        title=f"count what has moved to {archive.archive}, for the audit log",
        action=Validation(
            table=archive.archive,
            forward=(f"analyze {archive.archive}",),
            counts=f"select count(*) from {archive.archive}",
        ),
    )


def _requirements(archive: Archive, draft: TableDraft) -> Iterator[Requirement]:
    """A row that comes back needs its keys to be free, and its parents to be there."""
    for index in draft.table.indexes:
        columns = key_columns(draft.table, index)
        if not index.unique or index.partial or index.expressions or not columns:
            continue
        same = " and ".join(f"t.{quote(one)} = a.{quote(one)}" for one in columns)
        yield Requirement(
            name=f"no row of {draft.full_name} has the place of an archived one in {index.name}",
            table=draft.full_name,
            kind="unique",
            gate="before_rollback",
            violations=f"select 1 from {archive.archive} as a join {archive.table} as t on {same}",
        )
    for constraint in draft.table.constraints:
        if constraint.kind == "foreign key" and constraint.referenced_table is not None:
            pairs = dict(zip(constraint.columns, constraint.referenced_columns, strict=True))
            broken = orphaned(
                quote_qualified(constraint.referenced_table), pairs, full=" MATCH FULL" in constraint.definition
            )
            yield Requirement(
                name=f"archived rows of {draft.full_name} refer by {constraint.name}",
                table=draft.full_name,
                kind="references",
                gate="before_rollback",
                violations=f"select 1 from {archive.archive} as child where {broken}",
            )
