-- Indexes, constraint-backed or not.
select
    i.indrelid as table_oid,
    c.relname as name,
    pg_get_indexdef(i.indexrelid) as definition,
    array(
        select a.attname
        from unnest(i.indkey::int2[]) with ordinality as key (attnum, position)
        join pg_attribute a on a.attrelid = i.indrelid and a.attnum = key.attnum
        order by key.position
    ) as columns,
    array(
        select a.attname
        from pg_attribute a
        where a.attrelid = i.indrelid and a.attnum > 0 and not a.attisdropped
          and (
              a.attnum = any (i.indkey::int2[])
              -- The server records no dependency for a whole row.
              or concat(i.indexprs::text, i.indpred::text) like '%%:varattno 0 %%'
              or exists (
                  select from pg_depend d
                  where d.classid = 'pg_class'::regclass and d.objid = i.indexrelid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid = i.indrelid and d.refobjsubid = a.attnum
              )
          )
        order by a.attnum
    ) as referenced,
    i.indisunique as unique,
    i.indisprimary as primary,
    i.indisvalid and i.indisready and i.indislive as valid,
    i.indimmediate as immediate,
    i.indpred is not null as partial,
    i.indexprs is not null as expressions,
    k.conname as constraint,
    i.indisreplident as replica_identity,
    i.indisclustered as clustered,
    coalesce(s.spcname, '') as tablespace,
    array(
        select a.attnum || '=' || a.attstattarget
        from pg_attribute a
        where a.attrelid = i.indexrelid and a.attstattarget >= 0
        order by a.attnum
    ) as statistics_targets,
    d.description as comment
from pg_index i
join pg_class c on c.oid = i.indexrelid
left join pg_tablespace s on s.oid = c.reltablespace
left join pg_constraint k on k.conrelid = i.indrelid and k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = i.indexrelid and d.objsubid = 0
where i.indrelid = any (%(tables)s)
order by i.indrelid, c.relname
