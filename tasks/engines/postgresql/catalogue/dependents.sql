-- Everything that the server knows to depend on a table, directly or through views.
with recursive
-- Each table, and the views that stand on it with the columns of the table that they name. Column 0 is the
-- table itself; so is a whole row, which follows the table by itself when columns come and go.
reached (root, relation, attnum) as (
    select oid, oid, null::int from pg_class where oid = any (%(tables)s)
    union
    select
        reached.root,
        r.ev_class,
        coalesce(reached.attnum, d.refobjsubid)
    from reached
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = reached.relation
        and d.classid = 'pg_rewrite'::regclass and d.deptype = 'n'
    join pg_rewrite r on r.oid = d.objid and r.rulename = '_RETURN'
        and r.ev_class not in (reached.root, reached.relation)
),
edges (root, relation, classid, objid, objsubid, attnum) as (
    select
        reached.root, reached.relation, d.classid, d.objid, d.objsubid,
        coalesce(reached.attnum, d.refobjsubid)
    from reached
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = reached.relation
        and d.deptype in ('n', 'a')
    -- Up to 15 a view depends on itself.
    where not exists (
        select from pg_rewrite r
        where d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
          and r.ev_class = reached.relation and r.rulename = '_RETURN'
    )
    union all
    -- The type of its rows, and arrays of it.
    select reached.root, reached.relation, d.classid, d.objid, d.objsubid, coalesce(reached.attnum, 0)
    from reached
    join pg_class c on c.oid = reached.relation
    join pg_type t on t.oid = c.reltype
    join pg_depend d on d.refclassid = 'pg_type'::regclass and d.refobjid in (t.oid, t.typarray)
        and d.deptype in ('n', 'a')
    union all
    -- Its sequences: another table's default may draw from them.
    select own.refobjid, own.refobjid, d.classid, d.objid, d.objsubid, own.refobjsubid
    from pg_depend own
    join pg_sequence s on s.seqrelid = own.objid
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = s.seqrelid and d.deptype in ('n', 'a')
    where own.classid = 'pg_class'::regclass and own.refclassid = 'pg_class'::regclass
      and own.refobjid = any (%(tables)s) and own.deptype in ('a', 'i')
),
objects (root, through, classid, objid, objsubid, attnums) as (
    select
        e.root,
        -- Of two ways the direct one counts.
        case when not bool_or(e.relation = e.root) then min((n.nspname || '.' || c.relname) collate "C") else '' end,
        e.classid, e.objid, e.objsubid, array_agg(e.attnum)
    from edges e
    join pg_class c on c.oid = e.relation
    join pg_namespace n on n.oid = c.relnamespace
    -- The default of a column belongs to it.
    where not exists (
        select from pg_attrdef a
        where e.classid = 'pg_attrdef'::regclass and a.oid = e.objid and a.adrelid = e.root and a.adnum = e.attnum
    )
    group by e.root, e.classid, e.objid, e.objsubid
)
select
    o.root as table_oid,
    described.kind,
    described.name,
    array(
        select a.attname from pg_attribute a
        where a.attrelid = o.root and a.attnum > 0 and a.attnum = any (o.attnums)
        order by a.attnum
    ) as columns,
    described.definition,
    o.through
from objects o
cross join lateral (
    select
        case c.relkind when 'v' then 'view' when 'm' then 'materialized view' end as kind,
        n.nspname || '.' || c.relname as name,
        'create ' || case c.relkind when 'm' then 'materialized ' else '' end || 'view '
            || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
            || coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', '')
            || ' as' || chr(10) || pg_get_viewdef(c.oid) as definition
    from pg_rewrite r
    join pg_class c on c.oid = r.ev_class
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_rewrite'::regclass and r.oid = o.objid and r.rulename = '_RETURN'
    union all
    select
        'rule',
        n.nspname || '.' || c.relname || '.' || r.rulename,
        pg_get_ruledef(r.oid) || case when r.ev_enabled = 'O' then '' else
            ' alter table ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname)
            || case r.ev_enabled when 'D' then ' disable' when 'A' then ' enable always' else ' enable replica' end
            || ' rule ' || quote_ident(r.rulename) || ';'
        end
    from pg_rewrite r
    join pg_class c on c.oid = r.ev_class
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_rewrite'::regclass and r.oid = o.objid and r.rulename <> '_RETURN'
    union all
    select
        'function',
        n.nspname || '.' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
        case when p.prokind = 'a' then '' else pg_get_functiondef(p.oid) end
    from pg_proc p
    join pg_namespace n on n.oid = p.pronamespace
    where o.classid = 'pg_proc'::regclass and p.oid = o.objid
    union all
    select
        'statistics',
        n.nspname || '.' || s.stxname,
        pg_get_statisticsobjdef(s.oid) || coalesce(
            '; alter statistics ' || quote_ident(n.nspname) || '.' || quote_ident(s.stxname)
                || ' set statistics ' || nullif(s.stxstattarget, -1),
            ''
        )
    from pg_statistic_ext s
    join pg_namespace n on n.oid = s.stxnamespace
    where o.classid = 'pg_statistic_ext'::regclass and s.oid = o.objid
    union all
    select
        'policy',
        n.nspname || '.' || c.relname || '.' || p.polname,
        case when p.polqual is null then '' else 'using (' || pg_get_expr(p.polqual, p.polrelid) || ') ' end
            || case
                when p.polwithcheck is null then ''
                else 'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ') '
            end
    from pg_policy p
    join pg_class c on c.oid = p.polrelid
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_policy'::regclass and p.oid = o.objid and p.polrelid <> o.root
    union all
    select
        case when d.adrelid = o.root and a.attgenerated <> '' then 'generated column' else 'default' end,
        case
            when d.adrelid = o.root and a.attgenerated <> '' then a.attname
            else n.nspname || '.' || c.relname || '.' || a.attname
        end,
        pg_get_expr(d.adbin, d.adrelid)
    from pg_attrdef d
    join pg_class c on c.oid = d.adrelid
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    where o.classid = 'pg_attrdef'::regclass and d.oid = o.objid
      -- A partition has the defaults of its table.
      and not (c.relispartition and o.root in (select above.relid from pg_partition_ancestors(c.oid) above))
    union all
    select 'constraint', n.nspname || '.' || c.relname || '.' || k.conname, pg_get_constraintdef(k.oid)
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_constraint'::regclass and k.oid = o.objid and k.conrelid <> o.root and k.contype <> 'f'
    union all
    select 'trigger', n.nspname || '.' || c.relname || '.' || t.tgname, pg_get_triggerdef(t.oid)
    from pg_trigger t
    join pg_class c on c.oid = t.tgrelid
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_trigger'::regclass and t.oid = o.objid and t.tgrelid <> o.root and not t.tgisinternal
    union all
    select 'index', n.nspname || '.' || c.relname, pg_get_indexdef(i.indexrelid)
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_class'::regclass and i.indexrelid = o.objid and i.indrelid <> o.root
    union all
    -- A column whose type is the row of the table.
    select 'column', n.nspname || '.' || c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
    from pg_attribute a
    join pg_class c on c.oid = a.attrelid
    join pg_namespace n on n.oid = c.relnamespace
    where o.classid = 'pg_class'::regclass and a.attrelid = o.objid and a.attnum = o.objsubid and o.objsubid > 0
    union all
    -- What has no words of its own above; children, sequences and publications have queries of their own.
    select i.type, i.identity, ''
    from pg_identify_object(o.classid, o.objid, o.objsubid) as i
    where o.classid not in (
        'pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_statistic_ext'::regclass, 'pg_policy'::regclass,
        'pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_trigger'::regclass, 'pg_class'::regclass,
        'pg_publication_rel'::regclass
    )
) as described (kind, name, definition)
order by o.root, described.kind collate "C", described.name collate "C"
