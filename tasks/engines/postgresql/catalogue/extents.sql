-- Blocks and statistics of every part that holds rows: the table, or the leaves of a partitioned one.
select
    n.nspname || '.' || c.relname as "table",
    pn.nspname as part_schema,
    p.relname as part_name,
    p.reltuples::float8 as rows,
    p.relpages as pages_then,
    case
        when p.relkind in ('r', 'm') then pg_relation_size(p.oid) / current_setting('block_size')::bigint else 0
    end as pages,
    case when p.relkind in ('r', 'm') then pg_table_size(p.oid) else 0 end as bytes
from unnest(%(schemas)s::text[], %(names)s::text[]) as wanted (schema_name, name)
join pg_namespace n on n.nspname = wanted.schema_name
join pg_class c on c.relnamespace = n.oid and c.relname = wanted.name
join lateral (
    select leaf.relid from pg_partition_tree(c.oid) as leaf where leaf.isleaf and c.relkind = 'p'
    union all
    select c.oid where c.relkind <> 'p'
) as part (oid) on true
join pg_class p on p.oid = part.oid
join pg_namespace pn on pn.oid = p.relnamespace
