-- Whether `dependents` may find something: to plan that query takes as long as all the others together.
with named (relation, classid, objid) as (
    select oid, 'pg_class'::regclass, oid from pg_class where oid = any (%(tables)s)
    union all
    -- The type of its rows, and arrays of it.
    select t.typrelid, 'pg_type'::regclass, unnest(array[t.oid, t.typarray]) from pg_type t
    join pg_class c on c.reltype = t.oid
    where c.oid = any (%(tables)s)
    union all
    -- Its sequences, and other relations that belong to it.
    select own.refobjid, own.classid::regclass, own.objid from pg_depend own
    where own.refclassid = 'pg_class'::regclass and own.refobjid = any (%(tables)s)
      and own.classid = 'pg_class'::regclass and own.deptype in ('a', 'i')
)
select exists (
    select from named
    join pg_depend d on d.refclassid = named.classid and d.refobjid = named.objid and d.deptype in ('n', 'a')
    -- What belongs to the table itself depends on its columns in these ways.
    where not (
        d.deptype = 'a' and d.classid in (
            'pg_constraint'::regclass, 'pg_class'::regclass, 'pg_policy'::regclass, 'pg_publication_rel'::regclass
        )
    )
    and not exists (
        select from pg_attrdef a
        where d.classid = 'pg_attrdef'::regclass and a.oid = d.objid and a.adrelid = named.relation
          and a.adnum = d.refobjsubid
    )
    and not exists (
        select from pg_trigger t
        where d.classid = 'pg_trigger'::regclass and t.oid = d.objid and t.tgrelid = named.relation
    )
    -- Foreign keys that point here have a query of their own.
    and not exists (
        select from pg_constraint k
        where d.classid = 'pg_constraint'::regclass and k.oid = d.objid and k.contype = 'f'
    )
)
