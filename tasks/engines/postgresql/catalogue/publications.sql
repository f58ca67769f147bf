-- Publications that send a table's rows, and subscriptions that write into it.
with published as (
    select oid, relnamespace from pg_class
    where oid = any (%(tables)s) and relkind in ('r', 'p') and relpersistence = 'p'
),
ways (table_oid, publication, how, columns) as (
    select c.oid, p.oid, 'for all tables', null::name[]
    from published c
    cross join pg_publication p
    where p.puballtables
    union all
    select c.oid, pn.pnpubid, 'for tables in schema ' || quote_ident(n.nspname), null
    from published c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_publication_namespace pn on pn.pnnspid = n.oid
    union all
    select
        c.oid,
        pr.prpubid,
        'for table ' || quote_ident(pubn.nspname) || '.' || quote_ident(pub.relname)
            || coalesce(
                ' (' || (
                    select string_agg(quote_ident(a.attname), ', ' order by a.attnum)
                    from pg_attribute a
                    where a.attrelid = pr.prrelid and a.attnum = any (pr.prattrs::int2[])
                ) || ')',
                ''
            )
            || case when pr.prqual is null then '' else ' where (' || pg_get_expr(pr.prqual, pr.prrelid) || ')' end,
        case when pr.prattrs is not null then array(
            select a.attname
            from pg_attribute a
            where a.attrelid = pr.prrelid
              and exists (
                  select from pg_depend d
                  where d.classid = 'pg_publication_rel'::regclass and d.objid = pr.oid
                    and d.refclassid = 'pg_class'::regclass and d.refobjid = pr.prrelid and d.refobjsubid = a.attnum
              )
            order by a.attnum
        ) end
    from published c
    join pg_publication_rel pr on pr.prrelid = c.oid or pr.prrelid in (select pg_partition_ancestors(c.oid))
    join pg_class pub on pub.oid = pr.prrelid
    join pg_namespace pubn on pubn.oid = pub.relnamespace
)
select
    w.table_oid,
    'publication' as kind,
    p.pubname as name,
    -- Published as a whole by one way is published as a whole.
    case
        when bool_or(w.columns is null) then '{}'
        else array(
            select distinct name collate "C"
            from ways again, unnest(again.columns) as name
            where again.table_oid = w.table_oid and again.publication = p.oid
            order by 1
        )
    end as columns,
    string_agg(w.how, ', ' order by w.how collate "C") || concat(
        ', publishing',
        case when p.pubinsert then ' insert' end,
        case when p.pubupdate then ' update' end,
        case when p.pubdelete then ' delete' end,
        case when p.pubtruncate then ' truncate' end,
        case when p.pubviaroot then ', through the root of partitions' end,
        -- A column of 18 and later.
        case when to_jsonb(p) ->> 'pubgencols' = 's' then ', with generated columns' end
    ) as definition
from ways w
join pg_publication p on p.oid = w.publication
group by w.table_oid, p.oid
union all
select r.srrelid, 'subscription', s.subname, '{}', ''
from pg_subscription_rel r
join pg_subscription s on s.oid = r.srsubid
where r.srrelid = any (%(tables)s)
order by 1, 2, 3
