"""Names that PostgreSQL keeps of a column as it was called for a while: of a NOT NULL, and within an index."""

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.catalogue import Constraint


def tidy_not_null(draft: TableDraft, name: str) -> str:
    """PostgreSQL 18 names a NOT NULL after the column as it was called when it was set."""
    kept = draft.named_not_null(name)
    return f"""\
do $tidy$
declare
  old name;
begin
  select c.conname into old
  from pg_catalog.pg_constraint c
  join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
  where c.conrelid = {literal(draft.real)}::pg_catalog.regclass and c.contype = 'n'
    and a.attname = {literal(name)} and c.conname like '%\\_changeover\\_%';
  if old is not null then
    execute format('alter table {draft.real.replace("%", "%%").replace("'", "''")} rename constraint %I to %I', old,
      {literal(kept.name if kept else f"{draft.table.name}_{name}_not_null"[:63])});
{_comment(draft, kept)}
  end if;
end
$tidy$"""


def _comment(draft: TableDraft, kept: Constraint | None) -> str:
    return f"    {draft.comment_on(kept)};" if kept and kept.comment else ""


def tidy_index_columns(draft: TableDraft) -> str:
    """An index keeps the names that its columns had when it was built, whatever becomes of those of the table."""
    return f"""\
do $tidy$
declare
  i record;
begin
  for i in
    select x.indexrelid::pg_catalog.regclass as index, k.attname as old,
      coalesce(a.attname, 'expr') || case when exists (
        select from pg_catalog.pg_attribute o
        where o.attrelid = k.attrelid and o.attname = coalesce(a.attname, 'expr')
      ) or row_number() over (partition by k.attrelid, a.attname order by k.attnum) > 1
      then k.attnum::text else '' end as new
    from pg_catalog.pg_index x
    join pg_catalog.pg_attribute k on k.attrelid = x.indexrelid
    left join pg_catalog.pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[k.attnum - 1]
    where x.indrelid = {literal(draft.real)}::pg_catalog.regclass and k.attname like '\\_changeover\\_%'
      and coalesce(a.attname, '') not like '\\_changeover\\_%'
  loop
    execute format('alter table %s rename column %I to %I', i.index, i.old, i.new);
  end loop;
end
$tidy$"""
