-- The tables themselves.
select
    c.oid as table_oid,
    n.nspname as schema_name,
    c.relname as name,
    case c.relkind
        when 'r' then 'table'
        when 'p' then 'partitioned table'
        when 'v' then 'view'
        when 'm' then 'materialized view'
        when 'f' then 'foreign table'
    end as kind,
    case c.relpersistence
        when 'p' then 'permanent' when 'u' then 'unlogged' when 't' then 'temporary'
    end as persistence,
    pg_get_userbyid(c.relowner) as owner,
    d.description as comment,
    array(
        select item::text from unnest(coalesce(c.relacl, acldefault('r', c.relowner))) as item
        order by item::text collate "C"
    ) as grants,
    array(
        select prefix || option
        from pg_class o
        cross join lateral (values (case when o.oid = c.oid then '' else 'toast.' end)) as kind (prefix)
        cross join unnest(o.reloptions) as option
        where o.oid in (c.oid, c.reltoastrelid)
        order by prefix || option collate "C"
    ) as options,
    coalesce(s.spcname, '') as tablespace,
    coalesce(am.amname, '') as access_method,
    case c.relreplident
        when 'd' then 'default' when 'n' then 'nothing' when 'f' then 'full' when 'i' then 'index'
    end as replica_identity,
    c.relrowsecurity as row_security,
    c.relforcerowsecurity as force_row_security,
    array(
        select pn.nspname || '.' || p.relname
        from pg_inherits i
        join pg_class p on p.oid = i.inhparent
        join pg_namespace pn on pn.oid = p.relnamespace
        where i.inhrelid = c.oid
        order by i.inhseqno
    ) as parents,
    array(
        -- Of partitions also those of the partitions. What the server has for that would lock them.
        with recursive below (oid) as (
            select i.inhrelid from pg_inherits i where i.inhparent = c.oid
            union
            select i.inhrelid from pg_inherits i join below on i.inhparent = below.oid where c.relkind = 'p'
        )
        select kn.nspname || '.' || k.relname
        from below
        join pg_class k on k.oid = below.oid
        join pg_namespace kn on kn.oid = k.relnamespace
        order by kn.nspname, k.relname
    ) as children,
    case when c.relkind = 'p' then pg_get_partkeydef(c.oid) else '' end as partition_key,
    case when c.relpartbound is null then '' else pg_get_expr(c.relpartbound, c.oid) end as partition_bound,
    case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) else '' end as query
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
left join pg_tablespace s on s.oid = c.reltablespace
left join pg_am am on am.oid = c.relam
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
where c.oid = any (%(tables)s)
order by n.nspname, c.relname
