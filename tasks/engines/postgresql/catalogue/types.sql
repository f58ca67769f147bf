-- Enums, domains and composite types: those that columns of tables have, in whatever depth, and those of schemas.
with recursive reached (oid) as (
    select a.atttypid from pg_attribute a
    where a.attrelid = any (%(tables)s::oid []) and a.attnum > 0 and not a.attisdropped
    union
    select t.oid from pg_type t join pg_namespace n on n.oid = t.typnamespace
    where n.nspname = any (%(schemas)s::text [])
    union
    select beneath.oid
    from reached
    join pg_type t on t.oid = reached.oid
    cross join lateral (
        select t.typelem where t.typelem <> 0
        union all
        select t.typbasetype where t.typtype = 'd'
        union all
        select a.atttypid from pg_attribute a
        where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) as beneath (oid)
)
select
    n.nspname as schema_name,
    t.typname as name,
    case t.typtype when 'e' then 'enum' when 'd' then 'domain' else 'composite type' end as kind,
    pg_get_userbyid(t.typowner)::text as owner,
    obj_description(t.oid, 'pg_type') as comment,
    case t.typtype
        when 'e' then array(
            select e.enumlabel::text from pg_enum e where e.enumtypid = t.oid order by e.enumsortorder
        )
        when 'd' then
            array[format_type(t.typbasetype, t.typtypmod)]
            || case when t.typdefault is not null then array['default ' || t.typdefault] end
            || case when t.typnotnull then array['not null'] end
            || array(
                select quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid) from pg_constraint k
                where k.contypid = t.oid and k.contype = 'c' order by k.conname collate "C"
            )
        else array(
            select quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) from pg_attribute a
            where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum
        )
    end as parts
from reached
join pg_type t on t.oid = reached.oid
join pg_namespace n on n.oid = t.typnamespace
left join pg_class c on c.oid = t.typrelid
where (t.typtype in ('e', 'd') or c.relkind = 'c') and n.nspname not in ('pg_catalog', 'information_schema')
order by n.nspname collate "C", t.typname collate "C"
