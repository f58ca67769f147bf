-- Columns of a relation, each with the type below its domains. Parameter: the OID of the relation.
with recursive base as (
  select a.attnum, a.atttypid as oid from pg_catalog.pg_attribute as a
   where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
  union all
  select b.attnum, t.typbasetype from base as b join pg_catalog.pg_type as t on t.oid = b.oid where t.typtype = 'd'
)
select a.attname::text as name, a.atttypid <> t.oid as is_domain, t.oid::bigint as oid, t.typname::text as kind,
       pg_catalog.format_type(t.oid, -1) as type,
       pg_catalog.quote_ident(o.nspname) || '.' || pg_catalog.quote_ident(op.proname) as output,
       pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(sp.proname) as send,
       t.typtype = 'b' as ordinary, coalesce(c.collisdeterministic, true) as deterministic,
       a.attgenerated <> '' as generated
  from pg_catalog.pg_attribute as a
  join base on base.attnum = a.attnum
  join pg_catalog.pg_type as t on t.oid = base.oid and t.typtype <> 'd'
  join pg_catalog.pg_proc as op on op.oid = t.typoutput join pg_catalog.pg_namespace as o on o.oid = op.pronamespace
  left join pg_catalog.pg_proc as sp on sp.oid = t.typsend left join pg_catalog.pg_namespace as s on s.oid = sp.pronamespace
  left join pg_catalog.pg_collation as c on c.oid = a.attcollation
 where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
 order by a.attnum
