-- Keys whose columns are never null, the primary key first. Parameter: the OID of the relation.
select array(
         select a.attname::text from unnest(i.indkey::smallint[]) with ordinality as k (attnum, n)
           join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where k.n <= i.indnkeyatts order by k.n) as columns
  from pg_catalog.pg_index as i
 where i.indrelid = %(oid)s and i.indisunique and i.indisvalid and i.indimmediate
   and i.indpred is null and i.indexprs is null
   -- Rows of children are read with the parent, and its index does not know them.
   and not exists (select from pg_catalog.pg_inherits as h join pg_catalog.pg_class as c on c.oid = h.inhparent
                    where h.inhparent = i.indrelid and c.relkind = 'r')
   and not exists (
         select from unnest(i.indkey::smallint[]) with ordinality as k (attnum, n)
           join pg_catalog.pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
          where k.n <= i.indnkeyatts and not a.attnotnull)
 order by not i.indisprimary, i.indnkeyatts, i.indexrelid
