-- Foreign keys that point here, also those of the table itself.
select
    k.confrelid as table_oid,
    n.nspname || '.' || c.relname as "table",
    k.conname as name,
    pg_get_constraintdef(k.oid) as definition,
    array(
        select a.attname
        from unnest(k.conkey) with ordinality as key (attnum, position)
        join pg_attribute a on a.attrelid = k.conrelid and a.attnum = key.attnum
        order by key.position
    ) as columns,
    array(
        select a.attname
        from unnest(k.confkey) with ordinality as key (attnum, position)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = key.attnum
        order by key.position
    ) as referenced_columns,
    k.convalidated as validated,
    d.description as comment
from pg_constraint k
join pg_class c on c.oid = k.conrelid
join pg_namespace n on n.oid = c.relnamespace
left join pg_constraint parent on parent.oid = k.conparentid
left join pg_description d on d.classoid = 'pg_constraint'::regclass and d.objoid = k.oid and d.objsubid = 0
where k.contype = 'f'
  and k.confrelid = any (%(tables)s)
  -- The partitions of a partitioned table inherit its key: the key itself stands for them.
  and parent.confrelid is distinct from k.confrelid
order by k.confrelid, n.nspname, c.relname, k.conname
