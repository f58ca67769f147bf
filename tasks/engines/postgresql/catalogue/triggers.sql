-- Triggers that were made by somebody, not by the server for its own constraints.
select
    t.tgrelid as table_oid,
    t.tgname as name,
    pg_get_triggerdef(t.oid) as definition,
    case t.tgenabled when 'O' then 'origin' when 'A' then 'always' when 'R' then 'replica' when 'D' then 'disabled' end
        as enabled,
    case when t.tgtype & 2 > 0 then 'before' when t.tgtype & 64 > 0 then 'instead of' else 'after' end as timing,
    array(
        select event
        from (
            values (1, 4, 'insert'), (2, 16, 'update'), (3, 8, 'delete'), (4, 32, 'truncate')
        ) as known (position, bit, event)
        where t.tgtype & bit > 0
        order by position
    ) as events,
    t.tgtype & 1 > 0 as row,
    array(
        select a.attname
        from unnest(t.tgattr::int2[]) with ordinality as key (attnum, position)
        join pg_attribute a on a.attrelid = t.tgrelid and a.attnum = key.attnum
        order by key.position
    ) as update_columns,
    array(
        select a.attname
        from pg_attribute a
        where a.attrelid = t.tgrelid and a.attnum > 0 and not a.attisdropped
          and exists (
              select from pg_depend d
              where d.classid = 'pg_trigger'::regclass and d.objid = t.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid = t.tgrelid and d.refobjsubid = a.attnum
          )
        order by a.attnum
    ) as referenced,
    d.description as comment
from pg_trigger t
left join pg_description d on d.classoid = 'pg_trigger'::regclass and d.objoid = t.oid and d.objsubid = 0
where t.tgrelid = any (%(tables)s) and not t.tgisinternal
order by t.tgrelid, t.tgname
