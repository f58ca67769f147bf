-- Row-level security policies.
select
    p.polrelid as table_oid,
    p.polname as name,
    case when p.polpermissive then 'as permissive' else 'as restrictive' end
        || case p.polcmd
            when 'r' then ' for select' when 'a' then ' for insert' when 'w' then ' for update'
            when 'd' then ' for delete' when '*' then ' for all'
        end
        || ' to ' || (
            select string_agg(role.name, ', ' order by role.name collate "C")
            from unnest(p.polroles) as member
            cross join lateral (
                select case when member = 0 then 'public' else quote_ident(pg_get_userbyid(member)) end
            ) as role (name)
        )
        || case when p.polqual is null then '' else ' using (' || pg_get_expr(p.polqual, p.polrelid) || ')' end
        || case
            when p.polwithcheck is null then ''
            else ' with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'
        end as definition,
    array(
        select a.attname
        from pg_attribute a
        where a.attrelid = p.polrelid and a.attnum > 0 and not a.attisdropped
          and exists (
              select from pg_depend d
              where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                and d.refclassid = 'pg_class'::regclass and d.refobjid = p.polrelid and d.refobjsubid = a.attnum
          )
        order by a.attnum
    ) as referenced,
    d.description as comment
from pg_policy p
left join pg_description d on d.classoid = 'pg_policy'::regclass and d.objoid = p.oid and d.objsubid = 0
where p.polrelid = any (%(tables)s)
order by p.polrelid, p.polname
