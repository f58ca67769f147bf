"""Know which rows are written while a table is copied into another database: triggers note their keys.

A note says only that a row was written, not what. Whoever carries it reads the row again, so notes may be carried in
any order, together, and twice; and values never pass through a trigger, which so has nothing to fail on. Notes commit
with what they tell of. There is no slot: nothing of the log of the server is kept for us, no setting of it is needed,
and there is nothing to lose in a failover.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.dual_write import OWN_TRIGGERS, literal
from tasks.engines.postgresql.transfer_rows import ALL, NOTE
from tasks.model.catalogue import Table
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.plan import Lock, LockMode, Phase, Requirement, ShortTransaction, Step, TransferField, differing
from tasks.model.transfer import ID, TransferSpec


@dataclass(frozen=True, kw_only=True)
class Capture:
    """The triggers and the table of notes of one transfer."""

    full_name: str
    table: str
    """Quoted and qualified, like `notes` and `function`."""
    key: tuple[str, ...]
    notes: str
    function: str
    tag: str
    shape: tuple[str, ...]
    """Columns of the table with their types: another shape may have come with other values."""

    @property
    def triggers(self) -> tuple[str, str]:
        """Names of the trigger of rows, and of the one for TRUNCATE."""
        return (f"{OWN_TRIGGERS}{self.tag}_row", f"{OWN_TRIGGERS}{self.tag}_truncate")

    def create_notes(self) -> tuple[str, ...]:
        """Return the statements that make the table of notes, whose keys have types and collations of the table."""
        return (
            f"create table {self.notes} as select {self._columns} from {self.table} with no data",
            f"alter table {self.notes} add {NOTE} bigint generated always as identity primary key,"
            f" add {ALL} boolean not null default false",
            self._function(),
        )

    def drop_notes(self) -> tuple[str, ...]:
        """Return the statements that remove it; the triggers have to be gone."""
        return (f"drop function if exists {self.function}()", f"drop table if exists {self.notes}")

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
            key=f"dual_write/{self.full_name}/notes",
            phase=Phase.DUAL_WRITE,
            title=f"note the keys of rows of {self.full_name} that are written from now on",
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
            name=f"every write to {self.full_name} is noted",
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
        yield Requirement(
            name=f"nothing was written to {self.full_name} since the swap",
            table=self.full_name,
            kind="parity",
            gate="before_contract",
            violations=f"select {self._columns} from {self.notes}",
        )

    @property
    def _columns(self) -> str:
        return ", ".join(map(quote, self.key))

    def _function(self) -> str:
        old, new = (", ".join(f"{row}.{quote(column)}" for column in self.key) for row in ("old", "new"))
        tag = f"$co_{self.tag}$"
        return f"""\
create function {self.function}() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as {tag}
begin
  if tg_op = 'TRUNCATE' then
    insert into {self.notes} ({ALL}) values (true);
    return null;
  end if;
  if tg_op <> 'INSERT' then
    insert into {self.notes} ({self._columns}) values ({old});
  end if;
  if tg_op = 'INSERT' then
    insert into {self.notes} ({self._columns}) values ({new});
  elsif tg_op = 'UPDATE' and {differing(old, new, exact=True)} then
    insert into {self.notes} ({self._columns}) values ({new});
  end if;
  return null;
end
{tag}"""


def refuse_uncapturable(
    conn: Connection, table: Table, wanted: TransferSpec, key: tuple[str, ...], fields: tuple[TransferField, ...]
) -> None:
    """Refuse what the triggers would not hear of. Raises PreflightError, or SpecError with the place."""
    if table.kind != "table" or table.parents or table.children or table.partition_bound:
        raise PreflightError(
            f"{table.full_name} is partitioned, or inherits: what is done to a part of it goes unnoticed",
            where="transfer.capture",
            hint="Copy it without capture, while nobody writes.",
        )
    if table.persistence != "permanent":
        raise PreflightError(
            f"{table.full_name} is {table.persistence}: a crash of the server empties it, and nobody is told",
            where="transfer.capture",
            hint="Make it a logged table, or copy it without capture, while nobody writes.",
        )
    if ID in wanted.fields and (wanted.fields[ID].column,) != key:
        raise SpecError(
            "writes are noted by their key: a document could not be found by an _id of something else",
            where=f"transfer.fields.{ID}",
            hint=f"Leave _id out, which is then made of {', '.join(key)}; or name its column in backfill.key.",
        )
    others = _other_tables(conn, table, [*([wanted.where] if wanted.where else []), *_expressions(fields)])
    if others:
        raise SpecError(
            f"the mapping reads {', '.join(others)}, too, whose writes are not noted",
            where="transfer",
            hint="Use columns of the row alone, or copy without capture, while nobody writes.",
        )


def _expressions(fields: tuple[TransferField, ...]) -> Iterator[str]:
    return (field.expression for field in fields if field.expression)


def _other_tables(conn: Connection, table: Table, expressions: list[str]) -> list[str]:
    """Name what the expressions read beside the table: asked of a view that is never committed."""
    listed = ", ".join(f"({one}\n) as _changeover_{number}" for number, one in enumerate(expressions))
    source = f"{quote(table.schema_name)}.{quote(table.name)}"
    with conn.transaction(force_rollback=True):
        conn.execute(f"create temporary view _changeover_reads as select {listed} from {source} as {quote(table.name)}")
        rows = conn.execute(
            """
            select distinct d.refobjid::pg_catalog.regclass::text
            from pg_catalog.pg_rewrite r
            join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::regclass and d.objid = r.oid
              and d.refclassid = 'pg_catalog.pg_class'::regclass
            where r.ev_class = 'pg_temp._changeover_reads'::regclass
              and d.refobjid not in (r.ev_class, %s::pg_catalog.regclass)
            order by 1
            """,
            (source,),
        ).fetchall()
    return [row[0] for row in rows]
