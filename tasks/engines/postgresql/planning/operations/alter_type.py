"""alter_type: further values of an enum, at once and for good; one more rule of a domain, after approval."""

from collections.abc import Sequence

from tasks.engines.postgresql.planning.attached.belongings import quote_qualified
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.spec_draft import Connection, SpecDraft, as_written
from tasks.engines.postgresql.planning.types import Type, find_type, of_kind
from tasks.model.errors import PreflightError
from tasks.model.names import quote
from tasks.model.operations import AlterType, AnyOperation
from tasks.model.operations.alter_type import AddedValue
from tasks.model.plan import Finding, Requirement
from tasks.model.steps import Lock, LockMode, Phase, ShortTransaction, Step, Validation


def draft_alter_type(op: AlterType, whole: SpecDraft, where: str) -> list[Requirement]:
    """Add the values, or the constraint; return what the gate has to count."""
    found = find_type(whole, op.name, where)
    if op.add_values is not None:
        of_kind(found, where, "enum")
        _add_values(op.add_values, found, whole, where)
        return []
    of_kind(found, where, "domain")
    return _add_check(op, found, whole, where)


def _add_values(values: Sequence[AddedValue], found: Type, whole: SpecDraft, where: str) -> None:
    """A statement a value. What is there already stays where it is: a rollback could not take it away."""
    statements = [_add_value(found, one) for one in values]
    for position, statement in enumerate(statements):
        # Within this transaction the server refuses to use the new value: only a later migration can name it.
        whole.keep(statement, f"{where}.add_values[{position}]")
    listed = ", ".join(one.value for one in values)
    present = [one.value for one in values if one.value in found.values]
    if present:
        whole.findings.append(
            Finding(
                rule="SAF-10",
                severity="note",
                message=f"{found.full_name} has {', '.join(present)} already: nothing is added",
                where=where,
            )
        )
    whole.findings.append(
        Finding(
            rule="SAF-10",
            severity="warning",
            message=f"a rollback leaves {listed} in {found.full_name}: PostgreSQL cannot remove a value of an enum",
            where=where,
            hint="To be able to go back, make another enum with create_type and let alter_column map to it.",
        )
    )
    whole.steps.append(
        Step(
            key=f"expand/{found.full_name}/add values",
            phase=Phase.EXPAND,
            title=f"add {listed} to the enum {found.full_name}",
            undo="nothing: a value cannot be removed, and harms nobody as long as no row has it",
            action=ShortTransaction(forward=tuple(statements)),
        )
    )


def _add_value(found: Type, one: AddedValue) -> str:
    place = "".join(
        f" {word} {literal(other)}"
        for word, other in (("before", one.before), ("after", one.after))
        if other is not None
    )
    return f"alter type {found.quoted} add value if not exists {literal(one.value)}{place}"


_COLUMNS = """
select n.nspname || '.' || c.relname, a.attname::text
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where a.atttypid = to_regtype(%(type)s) and not a.attisdropped and c.relkind in ('r', 'p', 'f', 'm')
  and n.nspname !~ '^pg_temp'
order by 1, a.attnum
"""
_INDIRECT = """
select pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid)
from pg_catalog.pg_type t
join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass
where t.oid = to_regtype(%(type)s) and d.deptype = 'n' and (
  (d.refobjid = t.oid and d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass)
  or (d.refobjid in (t.oid, t.typarray) and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and exists (
    select from pg_catalog.pg_class c where c.oid = d.objid and (c.relkind = 'c' or d.refobjid = t.typarray))))
order by 1
"""


def tables_of_domains(conn: Connection, operations: Sequence[AnyOperation], search_path: str) -> set[str]:
    """Return the full names of all tables that have a column of a domain which gets a rule."""
    found: set[str] = set()
    with conn.transaction():
        conn.execute("select set_config('search_path', %s, true)", (search_path,))
        for op in operations:
            if isinstance(op, AlterType) and op.check is not None:
                found |= {row[0] for row in conn.execute(_COLUMNS, {"type": as_written(op.name)}).fetchall()}
    return found


def _add_check(op: AlterType, found: Type, whole: SpecDraft, where: str) -> list[Requirement]:
    """NOT VALID under a lock that lets writers in flight end; then validate, where that keeps nobody waiting.

    Without the lock, a row that such a writer commits later would escape the validation.
    """
    assert op.check is not None
    indirect = whole.conn.execute(_INDIRECT, {"type": found.quoted}).fetchall()
    if indirect:
        raise PreflightError(
            f"the domain {found.full_name} is inside of other types: {', '.join(row[0] for row in indirect[:5])}",
            where=where,
            hint="PostgreSQL cannot check values inside of arrays, row types or other domains: put the rule there.",
        )
    name = quote(op.check.name)
    add = f"alter domain {found.quoted} add constraint {name} check ({op.check.constraint}\n) not valid"
    columns = whole.conn.execute(_COLUMNS, {"type": found.quoted}).fetchall()
    whole.keep(add, f"{where}.check")
    tables = tuple(dict.fromkeys(quote_qualified(table) for table, _ in columns))
    whole.steps.append(
        Step(
            key=f"constrain/{found.full_name}/add {op.check.name}",
            phase=Phase.CONSTRAIN,
            title=f"add {op.check.name} to the domain {found.full_name}, not yet validated",
            undo="drop it",
            action=ShortTransaction(
                locks=tuple(Lock(table=table, mode=LockMode.SHARE_ROW_EXCLUSIVE) for table in sorted(tables)),
                inverse_locks=(),
                forward=(add,),
                inverse=(f"alter domain {found.quoted} drop constraint if exists {name}",),
            ),
        )
    )
    if columns:
        whole.findings.append(
            Finding(
                rule="SAF-10",
                severity="note",
                message=f"{op.check.name} keeps its mark NOT VALID: PostgreSQL would keep writers waiting while it"
                " validates. It holds for every new value, and the run itself looks at every row that is there",
                where=where,
                hint=f"alter domain {found.quoted} validate constraint {name}, when writers can wait.",
            )
        )
    requirements = [_violations(op, table, column) for table, column in columns]
    whole.steps += [_validate(one, found) for one in requirements]
    return requirements


def _validate(one: Requirement, found: Type) -> Step:
    """Look at every row, as VALIDATE CONSTRAINT would, but under a lock that lets applications write."""
    return Step(
        key=f"constrain/{found.full_name}/validate {one.name}",
        phase=Phase.CONSTRAIN,
        title=f"see that {one.name}, while applications write",
        action=Validation(
            table=quote_qualified(one.table),
            forward=(
                f"do $validate$\nbegin\n  if exists ({one.violations}) then\n    raise check_violation using"
                f" message = {literal('rows break it: ' + one.name)};\n  end if;\nend\n$validate$",
            ),
        ),
    )


def _violations(op: AlterType, table: str, column: str) -> Requirement:
    assert op.check is not None
    return Requirement(
        name=f"{table}.{column} meets {op.check.name}",
        table=table,
        kind="check",
        constraint=op.check.name,
        violations=f"select 1 from {quote_qualified(table)} as changeover_row,"
        f" lateral (select changeover_row.{quote(column)} as value) as checked where not ({op.check.constraint}\n)",
    )
