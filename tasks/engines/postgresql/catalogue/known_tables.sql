-- Every table that a spec could have meant; those on the path first.
select n.nspname as schema_name, c.relname as name, n.nspname = any (%(path)s::text[]) as on_path
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
  and n.nspname <> 'information_schema'
  and n.nspname not like 'pg\_%%'
  and strpos(c.relname, '.') = 0
order by array_position(%(path)s::text[], n.nspname::text), n.nspname, c.relname
