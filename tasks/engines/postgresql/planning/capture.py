"""Know which rows are written while a table is copied into another database: triggers note their keys.

A note says only that a row was written, not what. Whoever carries it reads the row again, so notes may be carried in
any order, together, and twice; and values never pass through a trigger, which so has nothing to fail on. Notes commit
with what they tell of. There is no slot: nothing of the log of the server is kept for us, no setting of it is needed,
and a failover that loses a note has lost the write, too. Where that was carried already, the gate finds it; after the
gate the swap insists on the same server.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.other_tables import require_index
from tasks.engines.postgresql.transfer_rows import ALL, EMBEDDED, LOOKED_UP, LOOKUP
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import OWN_PREFIX, OWN_TRIGGERS, quote
from tasks.model.plan import Finding, Requirement, differing
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step
from tasks.model.transfer import ID, TransferSpec
from tasks.model.transfer_steps import NOTE, EmbeddedRows, LookedUp, TransferField


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The triggers and the table of notes of one transfer."""

    full_name: str
    table: str
    """Quoted and qualified, like `notes` and `function`."""
    key: tuple[str, ...]
    """Of the table that is copied: so the columns of the notes are called."""
    columns: tuple[str, ...]
    """Columns of this table that say it: the same, or those that refer to it."""
    number: int = 0
    """0: this is the table that is copied. Its notes have to be made first."""
    others: tuple[str, ...] = ()
    """Of what else its notes say that it was written: full names of tables."""
    lookup: int = 0
    """Which lookup it is of, where values of its rows are in those of others."""
    read: tuple[str, ...] = ()
    """Then: the columns that make another value."""
    key_bases: tuple[str, ...]
    """Types of the key, a domain's as its base: the note of a TRUNCATE has no key, whatever a domain demands."""
    notes: str
    function: str
    tag: str
    shape: tuple[str, ...]
    """Columns of the table with their types: another shape may have come with other values."""

    @property
    def triggers(self) -> tuple[str, str]:
        """Names of the trigger of rows, and of the one for TRUNCATE."""
        which = f"{self.tag}_{self.number}" if self.number else self.tag
        return (f"{OWN_TRIGGERS}{which}_row", f"{OWN_TRIGGERS}{which}_truncate")

    def create_notes(self) -> tuple[str, ...]:
        """Return the statements that make the table of notes, whose keys have types and collations of the table."""
        if self.number:
            return (self._function(),)
        # A cast keeps the collation of its column.
        keys = ", ".join(
            f"{quote(column)}::{base} as {quote(column)}" for column, base in zip(self.key, self.key_bases, strict=True)
        )
        return (
            f"create table {self.notes} as select {keys} from {self.table} with no data",
            f"alter table {self.notes} add {NOTE} bigint generated always as identity primary key,"
            f" add {ALL} boolean not null default false, add {EMBEDDED} boolean not null default false,"
            f" add {LOOKUP} integer not null default 0, add {LOOKED_UP} text[]",
            # By it those are found that are noted of some rows, however many others there are; of what is looked up,
            # the rest, and those that hold up the end.
            f"create index on {self.notes} ({self._columns}) where {LOOKUP} = 0",
            f"create index on {self.notes} ({LOOKUP}) where {LOOKUP} <> 0",
            self._function(),
        )

    def drop_notes(self) -> tuple[str, ...]:
        """Return the statements that remove it; the triggers have to be gone."""
        table = () if self.number else (f"drop table if exists {self.notes}",)
        return (f"drop function if exists {self.function}()", *table)

    def drop_triggers(self) -> tuple[str, ...]:
        """Return the statements that end the capture."""
        return tuple(f"drop trigger if exists {quote(name)} on {self.table}" for name in self.triggers)

    def lock(self, mode: LockMode) -> tuple[Lock, ...]:
        """Return a lock on the table."""
        return (Lock(table=self.table, mode=mode),)

    def step(self) -> Step:
        """Return the step that begins the capture."""
        row, truncate = self.triggers
        return Step(
            key=f"dual_write/{self.full_name}/notes{self.number or ''}",
            phase=Phase.DUAL_WRITE,
            title=f"note the keys of rows of {self.full_name} that are written from now on"
            if not self.number
            else f"note of which rows those of {self.full_name} are that are written from now on"
            if not self.lookup
            else f"note the keys of rows of {self.full_name} that get other values from now on",
            undo="drop the triggers",
            action=ShortTransaction(
                locks=self.lock(LockMode.SHARE_ROW_EXCLUSIVE),
                forward=(
                    f"create trigger {quote(row)} after insert or update or delete on {self.table}"
                    f" for each row execute function {self.function}()",
                    f"create trigger {quote(truncate)} after truncate on {self.table}"
                    f" for each statement execute function {self.function}()",
                    # Also in sessions that replay what another server has written.
                    *(f"alter table {self.table} enable always trigger {quote(name)}" for name in self.triggers),
                ),
                inverse=self.drop_triggers(),
                inverse_locks=self.lock(LockMode.ACCESS_EXCLUSIVE),
            ),
        )

    def requirements(self) -> Iterator[Requirement]:
        """Yield what has to be so at the swap, and before the notes are dropped."""
        names = ", ".join(map(literal, self.triggers))
        shape = ", ".join(map(literal, self.shape))
        yield Requirement(
            # A table may be embedded, or looked into, several times: a waiver is for one of them.
            name=f"every write to {self.full_name} is noted" + (f" (notes{self.number})" if self.number else ""),
            table=self.full_name,
            kind="structure",
            violations=f"""\
select 'the trigger ' || t.name || ' is gone or switched off' as problem from unnest(array[{names}]) as t (name)
where not exists (select from pg_catalog.pg_trigger g
                  where g.tgrelid = pg_catalog.to_regclass({literal(self.table)}) and g.tgname = t.name
                    and g.tgenabled = 'A')
union all
select 'its columns are others' where array[{shape}]::text[] is distinct from (
  select array_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod) order by a.attnum)
  from pg_catalog.pg_attribute a
  where a.attrelid = pg_catalog.to_regclass({literal(self.table)}) and a.attnum > 0 and not a.attisdropped)""",
        )
        if self.number:
            return
        yield Requirement(
            name=f"nothing was written to {', '.join(dict.fromkeys((self.full_name, *self.others)))} since the swap",
            table=self.full_name,
            kind="parity",
            gate="before_contract",
            # A row that is looked up is not what was copied: it is kept, and goes on to be written.
            violations=f"select {self._columns} from {self.notes} where {LOOKUP} = 0",
        )

    @property
    def _columns(self) -> str:
        return ", ".join(map(quote, self.key))

    def _function(self) -> str:
        old, new = (", ".join(f"{row}.{quote(column)}" for column in self.columns) for row in ("old", "new"))
        tag = f"$co_{self.tag}$"
        into = f"insert into {self.notes} ({self._columns})"
        # What refers to nothing is of no row.
        of = [f" where num_nulls({row}) = 0" if self.number else "" for row in (old, new)]
        emptied = f"{ALL}, {EMBEDDED}) values (true, true" if self.number else f"{ALL}) values (true"
        if self.lookup:
            return self._note_lookup(tag)
        return f"""\
create function {self.function}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as {tag}
begin
  if tg_op = 'TRUNCATE' then
    insert into {self.notes} ({emptied});
    return null;
  end if;
  if tg_op <> 'INSERT' then
    {into} select {old}{of[0]};
  end if;
  if tg_op = 'INSERT' then
    {into} select {new}{of[1]};
  elsif tg_op = 'UPDATE' and {differing(old, new, exact=True)} then
    {into} select {new}{of[1]};
  end if;
  return null;
end
{tag}"""

    def _note_lookup(self, tag: str) -> str:
        """Return the function for rows that others refer to: who refers to them is found out later, by nobody's write.

        Nothing refers to one that goes, for longer than a statement or until the end of a transaction. One that comes
        may be in its place. Those that refer to a row which is emptied are emptied with it.
        """
        keys = [", ".join(f"{row}.{quote(column)}::text" for column in self.columns) for row in ("old", "new")]
        read = [", ".join(f"{row}.{quote(column)}" for column in (*self.columns, *self.read)) for row in ("old", "new")]
        into = f"insert into {self.notes} ({ALL}, {LOOKUP}, {LOOKED_UP}) values (true, {self.lookup}, array["
        # Keys are texts that any session reads in the same way.
        return f"""\
create function {self.function}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp set datestyle = 'ISO, YMD'
set intervalstyle = 'postgres' set extra_float_digits = '1' as {tag}
begin
  if tg_op = 'INSERT' then
    {into}{keys[1]}]);
  elsif tg_op = 'UPDATE' and {differing(read[0], read[1], exact=True)} then
    {into}{keys[0]}]), (true, {self.lookup}, array[{keys[1]}]);
  end if;
  return null;
end
{tag}"""


def capture_of(
    of: Table,
    key: tuple[str, ...],
    key_bases: tuple[str, ...],
    schema: str,
    *,
    columns: tuple[str, ...] = (),
    number: int = 0,
    others: tuple[str, ...] = (),
) -> Capture:
    """Return the capture of a table whose notes, and whose function, stand in a schema of ours.

    `columns` say the key where they are not the key itself.
    """
    name = f"note{number or ''}"
    return Capture(
        full_name=of.full_name,
        table=f"{quote(of.schema_name)}.{quote(of.name)}",
        key=key,
        key_bases=key_bases,
        columns=columns or key,
        number=number,
        others=others,
        notes=f"{quote(schema)}.{quote('notes')}",
        function=f"{quote(schema)}.{quote(name)}",
        tag=schema.removeprefix(f"{OWN_PREFIX}transfer_"),
        shape=tuple(f"{column.name} {column.type}" for column in of.columns),
    )


def published(table: Table, ours: str) -> Iterator[Finding]:
    """Warn of publications that send all tables, and so also `ours`, with the others of its schema."""
    for one in table.dependents:
        if one.kind == "publication" and "for all tables" in one.definition:
            yield Finding(
                rule="XDB-04",
                severity="warning",
                message=f"the publication {one.name} sends all tables: also those of the ledger, in changeover, and"
                f" {ours}, with the others of its schema",
                where=table.full_name,
                hint="A subscriber stops at the first row of a table that it does not have: create these tables there,"
                " or let the publication name its tables for the time of the migration.",
            )


def refuse_uncapturable(
    conn: Connection, table: Table, wanted: TransferSpec, key: tuple[str, ...], expressions: Iterable[str]
) -> None:
    """Refuse what the triggers would not hear of. Raises PreflightError, or SpecError with the place."""
    _refuse_unheard(table, "transfer.capture")
    if ID in wanted.fields and (wanted.fields[ID].column,) != key:
        raise SpecError(
            "writes are noted by their key: a document could not be found by an _id of something else",
            where=f"transfer.fields.{ID}",
            hint=f"Leave _id out, which is then made of {', '.join(key)}; or name its column in backfill.key.",
        )
    read = [*([wanted.condition] if wanted.condition else []), *expressions]
    _refuse_reads(conn, table, read)


def refuse_unnoted(
    conn: Connection, table: Table, key: tuple[str, ...], child: Table, rows: EmbeddedRows, at: str
) -> None:
    """Refuse rows of another table of which the triggers could not say whose they are. Raises as the above."""
    _refuse_unheard(child, at)
    if not all(rows.columns) or len(rows.columns) != len(key):
        raise SpecError(
            f"{child.full_name} does not refer to {', '.join(key)}, by which rows of {table.full_name} are noted",
            where=at,
            hint="Name the columns that it refers to in backfill.key; or copy without capture, while nobody writes.",
        )
    for mine, theirs in zip(key, rows.columns, strict=True):
        types = [column.type if column else "" for column in (table.column(mine), child.column(theirs))]
        if types[0] != types[1]:
            raise SpecError(
                f"{child.full_name}.{theirs} is {types[1]}, and {table.full_name}.{mine} is {types[0]}: a note of"
                " one that does not fit would make the write fail",
                where=at,
                hint="Give both the same type; or copy without capture, while nobody writes.",
            )
    _refuse_reads(conn, child, [*([rows.where] if rows.where else []), *expressions_of(rows.fields)])


def refuse_unnoted_lookup(conn: Connection, table: Table, other: Table, lookup: LookedUp, at: str) -> None:
    """Refuse what is looked up where nobody could tell in whose documents it is. Raises as the above."""
    _refuse_unheard(other, at)
    require_index(table, lookup.columns, at, "each row that is looked up and written")
    _refuse_reads(conn, other, [lookup.expression])


def _refuse_unheard(table: Table, at: str) -> None:
    if table.kind != "table" or table.parents or table.children or table.partition_bound:
        raise PreflightError(
            f"{table.full_name} is partitioned, or inherits: what is done to a part of it goes unnoticed",
            where=at,
            hint="Copy it without capture, while nobody writes.",
        )
    if table.persistence != "permanent":
        raise PreflightError(
            f"{table.full_name} is {table.persistence}: a crash of the server empties it, and nobody is told",
            where=at,
            hint="Make it a logged table, or copy it without capture, while nobody writes.",
        )


def _refuse_reads(conn: Connection, table: Table, read: list[str]) -> None:
    """Refuse expressions that read anything but a row of the table."""
    if not read:
        return
    tables, functions = _read(conn, table, read)
    if tables:
        raise SpecError(
            f"the mapping reads {', '.join(tables)}, too, whose writes are not noted",
            where="transfer",
            hint="Use columns of the row alone, or copy without capture, while nobody writes.",
        )
    if functions:
        raise SpecError(
            f"the mapping calls {', '.join(functions)}, not declared immutable: what else it reads is not noted",
            where="transfer",
            hint="Use columns of the row alone; declare it immutable if it reads nothing else; or copy without capture,"
            " while nobody writes.",
        )


def base_types(conn: Connection, table: Table, key: tuple[str, ...]) -> tuple[str, ...]:
    """Return the types of columns, with the base of a domain in its place."""
    columns = ", ".join(map(quote, key))
    source = f"{quote(table.schema_name)}.{quote(table.name)}"
    with conn.transaction(force_rollback=True):
        # So that names are qualified.
        conn.execute("set local search_path = ''")
        # The server describes what a query gives by the base of each domain.
        described = conn.execute(f"select {columns} from {source} where false").pgresult
        assert described is not None
        asked = [(described.ftype(number), described.fmod(number)) for number in range(len(key))]
        names = [conn.execute("select pg_catalog.format_type(%s, %s)", one).fetchone() for one in asked]
    return tuple(str(name[0]) for name in names if name)


def expressions_of(fields: tuple[TransferField, ...]) -> Iterator[str]:
    """Yield what fields read of the row itself; what others give is looked at by itself."""
    return (field.expression for field in fields if field.expression and not (field.rows or field.lookup))


def columns_read(conn: Connection, table: Table, expression: str, search_path: str) -> tuple[str, ...]:
    """Return the columns by which an expression over a row may become another value.

    All, where it reads the row as a whole, or something of it that is no column of a trigger: what is generated.
    """
    source = f"{quote(table.schema_name)}.{quote(table.name)}"
    with conn.transaction(force_rollback=True):
        conn.execute("select pg_catalog.set_config('search_path', %s, true)", (search_path,))
        named = f"select ({expression}\n) as _changeover_0 from {source} as {quote(table.name)}"
        conn.execute(f"create temporary view _changeover_reads as {named}")
        (found, whole) = conn.execute(
            """
            select array(select a.attname::pg_catalog.text from pg_catalog.pg_depend d
                         join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
                         where d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
                           and d.refclassid = 'pg_catalog.pg_class'::regclass
                           and d.refobjid = %s::pg_catalog.regclass),
                   r.ev_action::text ~ ':varattno (0|-[0-9]+) '
            from pg_catalog.pg_rewrite r where r.ev_class = 'pg_temp._changeover_reads'::regclass
            """,
            (source,),
        ).fetchall()[0]
    read = [column for column in table.columns if column.name in found]
    whole = whole or any(column.generated for column in read)
    return tuple(column.name for column in (table.columns if whole else read))


def _read(conn: Connection, table: Table, expressions: list[str]) -> tuple[list[str], list[str]]:
    """Name what expressions read beside the table, and functions that may: asked of a view that is never committed.

    What comes with the server depends on nothing, and reads no tables of others.
    """
    listed = ", ".join(f"({one}\n) as _changeover_{number}" for number, one in enumerate(expressions))
    source = f"{quote(table.schema_name)}.{quote(table.name)}"
    with conn.transaction(force_rollback=True):
        conn.execute(f"create temporary view _changeover_reads as select {listed} from {source} as {quote(table.name)}")
        tables, functions = conn.execute(
            """
            with needs as (
              select d.refclassid, d.refobjid from pg_catalog.pg_rewrite r
              join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
              where r.ev_class = 'pg_temp._changeover_reads'::regclass
            ), called as (
              select refobjid from needs where refclassid = 'pg_catalog.pg_proc'::regclass
              union
              select o.oprcode from needs join pg_catalog.pg_operator o on o.oid = refobjid
              where refclassid = 'pg_catalog.pg_operator'::regclass
            )
            select array(select distinct refobjid::pg_catalog.regclass::text from needs
                         where refclassid = 'pg_catalog.pg_class'::regclass
                           and refobjid <> 'pg_temp._changeover_reads'::regclass
                           -- The table itself is read once, by the view: other rows of it are those of another table.
                           and (refobjid <> %(table)s::pg_catalog.regclass or (
                             select count(*) from pg_catalog.pg_rewrite w, pg_catalog.regexp_matches(
                               w.ev_action::text, ':rtekind 0 :relid ' || refobjid || ' ', 'g') m
                             where w.ev_class = 'pg_temp._changeover_reads'::regclass) > 1)
                         order by 1),
                   array(select p.oid::pg_catalog.regprocedure::text from pg_catalog.pg_proc p
                         join called on called.refobjid = p.oid where p.provolatile <> 'i' order by 1)
            """,
            {"table": source},
        ).fetchall()[0]
    return tables, functions
