-- Constraints of the tables themselves.
select
    k.conrelid as table_oid,
    k.conname as name,
    case k.contype
        when 'c' then 'check' when 'f' then 'foreign key' when 'p' then 'primary key' when 'u' then 'unique'
        when 'x' then 'exclusion' when 't' then 'trigger' when 'n' then 'not null'
    end as kind,
    pg_get_constraintdef(k.oid) as definition,
    case
        -- A check of the whole row; the server notes it as column 0.
        when 0 = any (k.conkey) then array(
            select a.attname from pg_attribute a
            where a.attrelid = k.conrelid and a.attnum > 0 and not a.attisdropped
            order by a.attnum
        )
        else array(
            select a.attname
            from unnest(k.conkey) with ordinality as key (attnum, position)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = key.attnum
            order by key.position
        )
    end as columns,
    k.convalidated as validated,
    k.condeferrable as deferrable,
    k.condeferred as deferred,
    not exists (
        select from pg_trigger t where t.tgconstraint = k.oid and t.tgisinternal and t.tgenabled <> 'O'
    ) as enabled,
    rn.nspname || '.' || r.relname as referenced_table,
    array(
        select a.attname
        from unnest(k.confkey) with ordinality as key (attnum, position)
        join pg_attribute a on a.attrelid = k.confrelid and a.attnum = key.attnum
        order by key.position
    ) as referenced_columns,
    d.description as comment
from pg_constraint k
join pg_class c on c.oid = k.conrelid
left join pg_class r on r.oid = k.confrelid
left join pg_namespace rn on rn.oid = r.relnamespace
left join pg_constraint parent on parent.oid = k.conparentid
left join pg_description d on d.classoid = 'pg_constraint'::regclass and d.objoid = k.oid and d.objsubid = 0
left join pg_attribute own on k.contype = 'n' and own.attrelid = k.conrelid and own.attnum = k.conkey[1]
where k.conrelid = any (%(tables)s)
  -- A key that points to a partitioned table has a twin for each of its partitions.
  and parent.conrelid is distinct from k.conrelid
  -- From 18 on, NOT NULL is a constraint too: shown only where it says more than that the column is not nullable.
  and (
      k.contype <> 'n'
      or not k.convalidated
      or k.connoinherit
      or d.description is not null
      or (
          k.coninhcount = 0
          and k.conname <> c.relname || '_' || own.attname || '_not_null'
          -- Beyond this length the server shortens the name that it chooses.
          and octet_length(c.relname || '_' || own.attname || '_not_null') <= 63
      )
  )
order by k.conrelid, k.conname
