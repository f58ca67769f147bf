-- Columns, in order.
select
    a.attrelid as table_oid,
    a.attname as name,
    format_type(a.atttypid, a.atttypmod) as type,
    -- A NOT NULL that nobody has validated (18) promises nothing about the rows that are there.
    not a.attnotnull or exists (
        select from pg_constraint k
        where k.conrelid = a.attrelid and k.contype = 'n' and k.conkey[1] = a.attnum and not k.convalidated
    ) as nullable,
    case when a.attgenerated = '' then pg_get_expr(e.adbin, e.adrelid) end as "default",
    case a.attidentity when 'a' then 'always' when 'd' then 'by default' else '' end as identity,
    case when a.attgenerated <> '' then pg_get_expr(e.adbin, e.adrelid) end as generated,
    a.attgenerated = 'v' as virtual,
    case
        when a.attcollation <> t.typcollation then quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
    end as collation,
    case a.attstorage
        when 'p' then 'plain' when 'e' then 'external' when 'm' then 'main' when 'x' then 'extended'
    end as storage,
    case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' else '' end as compression,
    nullif(a.attstattarget, -1) as statistics_target,
    -- A number that the server gives, and changes, by itself (the minor releases of November 2026).
    array(
        select option from unnest(a.attoptions) as option where not starts_with(option, 'pg_attver=')
        order by option collate "C"
    ) as options,
    d.description as comment,
    array(select item::text from unnest(a.attacl) as item order by item::text collate "C") as grants,
    e.oid is not null and pg_get_expr(e.adbin, e.adrelid) is null as vanished
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_attrdef e on e.adrelid = a.attrelid and e.adnum = a.attnum
left join pg_collation co on co.oid = a.attcollation
left join pg_namespace cn on cn.oid = co.collnamespace
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = a.attrelid and d.objsubid = a.attnum
where a.attrelid = any (%(tables)s) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
