-- Sequences that belong to a column: serial or identity.
select
    own.refobjid as table_oid,
    n.nspname || '.' || c.relname as name,
    a.attname as column,
    own.deptype = 'i' as identity,
    concat_ws(
        ' ',
        'as ' || format_type(s.seqtypid, null),
        'start with ' || s.seqstart,
        'increment by ' || s.seqincrement,
        'minvalue ' || s.seqmin,
        'maxvalue ' || s.seqmax,
        'cache ' || s.seqcache,
        case when s.seqcycle then 'cycle' else 'no cycle' end
    ) as definition,
    array(
        select item::text from unnest(coalesce(c.relacl, acldefault('s', c.relowner))) as item
        order by item::text collate "C"
    ) as grants,
    d.description as comment
from pg_depend own
join pg_sequence s on s.seqrelid = own.objid
join pg_class c on c.oid = s.seqrelid
join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = own.refobjid and a.attnum = own.refobjsubid
left join pg_description d on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = 0
where own.classid = 'pg_class'::regclass
  and own.refclassid = 'pg_class'::regclass
  and own.refobjid = any (%(tables)s)
  and own.deptype in ('a', 'i')
order by own.refobjid, n.nspname, c.relname
