"""How a table stands after the swap: its sequences are ahead of its rows, and the planner knows its columns."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.model.catalogue import OwnedSequence, Table
from tasks.model.names import quote
from tasks.model.plan import Requirement

_NUMBERS = ("smallint", "integer", "bigint", "numeric")


def sequences_ahead(table: Table) -> Requirement:
    """Ask before a run. What is behind already is shown, with what would mend it, and is not held against the swap."""
    numbers = {column.name for column in table.columns if column.type in _NUMBERS}
    fixes = [_mend(table, one) for one in table.sequences if one.column in numbers]
    return Requirement(
        name=_name(table),
        table=table.full_name,
        kind="standing",
        gate="before_run",
        violations=_behind(f"{literal(_quoted(table))}::pg_catalog.regclass", _quoted(table), _columns(table)),
        severity="warning",
        fix="; ".join(fixes),
    )


def sequences_still_ahead(
    migration: str, table: Table, columns: Sequence[str], regclass: str, relation: str
) -> Requirement:
    """Ask after the swap: no number that a column will be given is one that a row may have.

    The sequences are looked up then: those that belong to a column, whichever they were before. `columns` are those
    that have one by then, also in an identity that has come: a number that an application gives it counts, too.
    """
    # The newest record that answers the question: a suite that is bound to the gate has a record of its own.
    before = f"""
  and not exists (
    select from (select one ->> 'passed' as passed
                 from changeover.gates g, pg_catalog.json_array_elements(g.result -> 'checks') as one
                 where g.migration = {literal(migration)} and g.gate = 'before_run'
                   and one ->> 'name' = {literal(_name(table))} order by g.id desc limit 1) as last
    where last.passed = 'false')"""
    return Requirement(
        name=_name(table),
        table=table.full_name,
        kind="standing",
        gate="after_swap",
        violations=_behind(regclass, relation, columns) + before,
    )


def statistics_there(table: Table, columns: Sequence[str], regclass: str, relation: str) -> Requirement:
    """Ask after the swap: the planner knows the columns that were filled, so that it need not guess.

    A table that was empty when it was analysed, or was truncated since, has no statistics, and needs none.
    """
    names = ", ".join(literal(name) for name in columns)
    return Requirement(
        name=f"the planner knows the new columns of {table.full_name}",
        table=table.full_name,
        kind="standing",
        gate="after_swap",
        violations=f"""\
select 'no statistics of ' || a.attname || ': analyze {relation.replace("'", "''")}' as problem
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where a.attrelid = {regclass} and a.attname in ({names}) and coalesce(a.attstattarget, -1) <> 0
  and (c.reltuples > 0 or c.reltuples < 0 and pg_catalog.pg_stat_get_last_analyze_time(c.oid) is null)
  and exists (select from {relation})
  and not exists (select from pg_catalog.pg_stats s
                  where s.schemaname = n.nspname and s.tablename = c.relname and s.attname = a.attname)""",
    )


def _name(table: Table) -> str:
    return f"the sequences of {table.full_name} are ahead of its rows"


def _columns(table: Table) -> list[str]:
    return sorted({one.column for one in table.sequences})


def _behind(regclass: str, relation: str, columns: Sequence[str]) -> str:
    """Name the sequences whose next number is one that a row may have.

    Rows are those of the snapshot, and the sequence is read after it was taken: a number that a row has is one that
    the sequence has given by then. Which sequences there are is known only then, and a query cannot name a table
    that it looks up; but `ts_stat`, made for words, runs the text of a query, which gives one word for yes here.
    """
    number = f"array[{', '.join(f'{literal(one)}::regtype' for one in _NUMBERS)}]"
    names = ", ".join(literal(name) for name in columns)
    return f"""\
select n.nspname || '.' || s.relname || ' is behind ' || a.attname as problem
from pg_catalog.pg_depend d
join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
join pg_catalog.pg_namespace n on n.oid = s.relnamespace
join pg_catalog.pg_sequence q on q.seqrelid = s.oid and not q.seqcycle
join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid and a.atttypid = any ({number})
where d.classid = 'pg_catalog.pg_class'::regclass and d.refclassid = 'pg_catalog.pg_class'::regclass
  and d.refobjid = {regclass} and d.deptype in ('a', 'i') and a.attname in ({names})
  and exists (select from pg_catalog.ts_stat(pg_catalog.format(
    'select ''behind''::tsvector from (select case when is_called then last_value::numeric + %1$s else last_value end'
    ' as next from %2$I.%3$I) as q where (select %4$s(%5$I) from %6$s) %7$s q.next',
    q.seqincrement, n.nspname, s.relname, case when q.seqincrement > 0 then 'max' else 'min' end, a.attname,
    {literal(relation)}, case when q.seqincrement > 0 then '>=' else '<=' end)))"""


def _mend(table: Table, one: OwnedSequence) -> str:
    """Return a statement that moves a sequence past the rows, and never back."""
    sequence = literal(quote_qualified(one.name))
    most, farthest = ("least", "min") if "increment by -" in one.definition else ("greatest", "max")
    value = f"{most}({farthest}({quote(one.column)}), pg_catalog.nextval({sequence}))"
    return f"select pg_catalog.setval({sequence}, {value}) from {_quoted(table)}"


def _quoted(table: Table) -> str:
    return f"{quote(table.schema_name)}.{quote(table.name)}"
