-- The relation that each name means: in the schema it names, or the first one along the path.
select wanted.written, found.oid, found.relkind::text as relkind, found.nspname as schema_name
from unnest(%(written)s::text[], %(schemas)s::text[], %(names)s::text[]) as wanted (written, schema_name, name)
left join lateral (
    select c.oid, c.relkind, n.nspname
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relname = wanted.name
      and n.nspname = any (
          case when wanted.schema_name is null then %(path)s::text[] else array[wanted.schema_name] end
      )
    order by array_position(%(path)s::text[], n.nspname::text)
    limit 1
) as found on true
