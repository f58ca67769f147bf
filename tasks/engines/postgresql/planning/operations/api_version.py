"""create_api_version and drop_api_version: a view and functions for a service, made at once, dropped by `contract`.

What a view reads cannot be replaced or dropped below it: a later migration that would is refused, with the name of
the view. A column or a table that gets another name takes the view with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.checks.obstacles import API_MARK
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.lock_order import alone
from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.errors import PreflightError, SpecError
from tasks.model.names import quote
from tasks.model.operations import CreateApiVersion, DropApiVersion
from tasks.model.plan import Requirement
from tasks.model.steps import Phase, ShortTransaction, Step

_WRITABLE = 4 | 8 | 16
"""UPDATE, INSERT and DELETE, as `pg_relation_is_updatable` gives them."""


def draft_create_api_version(op: CreateApiVersion, draft: TableDraft, where: str) -> None:
    """Try the view, look whether its users may read the table, and plan it."""
    whole = draft.spec
    schema, name = whole.split_name(op.name)
    if whole.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=f"{where}.name", hint="Choose another name.")
    alias = quote(draft.table.name)
    shown = ", ".join(f"({expression}\n) as {quote(column)}" for column, expression in op.columns.items())
    rows = f" where {op.predicate}\n" if op.predicate is not None else ""
    draft.rehearsal.try_on_new(f"select {shown} from {{table}} as {alias}{rows}", where)
    view = f"{quote(schema)}.{quote(name)}"
    checked = " with local check option" if op.predicate is not None and op.writable else ""
    query = f"select {shown} from {draft.real} as {alias}{rows}"
    create = f"create view {view} with (security_invoker = true) as {query}{checked}"
    functions = {name: _function(op, name, schema, view) for name in op.functions}
    _try(op, create, functions, view, draft, where)
    for number, role in enumerate(op.roles):
        _refuse_stranger(role, draft, f"{where}.roles[{number}]")
    rights = "select, insert, update, delete" if op.writable else "select"
    whole.created[op.name] = whole.created[f"{schema}.{name}"] = view
    whole.steps.append(
        Step(
            key=f"expand/{draft.full_name}/view {schema}.{name}",
            phase=Phase.EXPAND,
            title=f"show {draft.full_name} as {schema}.{name}",
            undo="drop the view",
            action=ShortTransaction(
                forward=(
                    create,
                    f"comment on view {view} is {literal(f'{API_MARK}: {draft.migration}')}",
                    *(f"grant {rights} on {view} to {quote(role)}" for role in op.roles),
                    *(s for one in functions.values() for s in one.statements(op.roles, draft.migration)),
                ),
                inverse=(*(one.drop for one in functions.values()), f"drop view if exists {view}"),
            ),
        )
    )


@dataclass(frozen=True, kw_only=True)
class _Function:
    """A function over the view, as statements."""

    signature: str
    create: str

    @property
    def drop(self) -> str:
        return f"drop function if exists {self.signature}"

    def statements(self, roles: Sequence[str], migration: str) -> Iterator[str]:
        """Without a word everybody may call a function; whom the view was granted to may, and nobody else."""
        yield self.create
        yield f"comment on function {self.signature} is {literal(f'{API_MARK}: {migration}')}"
        yield f"revoke all on function {self.signature} from public"
        for role in roles:
            yield f"grant execute on function {self.signature} to {quote(role)}"


def _function(op: CreateApiVersion, name: str, schema: str, view: str) -> _Function:
    """The body is parsed once, so it follows other names. It runs with the rights of who calls it."""
    asked = op.functions[name]
    given = ", ".join(f"{quote(parameter)} {kind}" for parameter, kind in asked.parameters.items())
    called = f"{quote(schema)}.{quote(name)}"
    return _Function(
        signature=f"{called}({', '.join(asked.parameters.values())})",
        create=f"create function {called}({given}) returns setof {view} language sql stable"
        f" begin atomic select shown.* from {view} as shown where ({asked.predicate}\n); end",
    )


def draft_drop_api_version(op: DropApiVersion, whole: SpecDraft, where: str) -> None:
    """Refuse what is not ours, and what others have built on; drop the rest at the contract."""
    schema, name = whole.split_name(op.name)
    view = f"{quote(schema)}.{quote(name)}"
    row = whole.conn.execute(
        "select starts_with(pg_catalog.obj_description(c.oid, 'pg_class'), %s) from pg_catalog.pg_class c"
        " where c.oid = to_regclass(%s) and c.relkind = 'v'",
        (API_MARK, view),
    ).fetchone()
    if not (row and row[0]):
        raise SpecError(
            f"{schema}.{name} is no API version that create_api_version has made",
            where=f"{where}.name",
            hint="`changeover versions` lists them.",
        )
    whole.requirements.append(_nothing_depends(schema, name))
    whole.steps.append(
        Step(
            key=f"contract/{schema}.{name}/api version",
            phase=Phase.CONTRACT,
            title=f"drop the API version {schema}.{name}",
            undo="nothing: this is the point of no return",
            action=ShortTransaction(
                locks=(alone(view, schema),),
                forward=(*_dropped_functions(whole, view), f"drop view if exists {view}"),
            ),
        )
    )


def _nothing_depends(schema: str, name: str) -> Requirement:
    """Name what others have built on the view, on its rows as a type, or on its functions."""
    view = literal(f"{quote(schema)}.{quote(name)}")
    return Requirement(
        name=f"nothing else depends on {schema}.{name}",
        table=f"{schema}.{name}",
        kind="structure",
        gate="after_swap",
        violations=f"""\
with ours as (
  select v.oid, t.oid as type, t.typarray, array(
    select p.oid from pg_catalog.pg_proc p
    where p.prorettype = t.oid and starts_with(pg_catalog.obj_description(p.oid, 'pg_proc'), {literal(API_MARK)})
  ) as functions
  from pg_catalog.pg_class v join pg_catalog.pg_type t on t.oid = v.reltype
  where v.oid = pg_catalog.to_regclass({view})
)
select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) as problem
from ours
join pg_catalog.pg_depend d on d.deptype = 'n' and (
  d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = ours.oid
  or d.refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass and d.refobjid in (ours.type, ours.typarray)
  or d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.refobjid = any (ours.functions))
left join pg_catalog.pg_rewrite r on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass and r.oid = d.objid
where r.ev_class is distinct from ours.oid
  and not (d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and d.objid = any (ours.functions))""",
    )


def _dropped_functions(whole: SpecDraft, view: str) -> list[str]:
    rows = whole.conn.execute(
        """
        select pg_catalog.format('drop function if exists %%I.%%I(%%s)', n.nspname, p.proname,
          pg_catalog.pg_get_function_identity_arguments(p.oid))
        from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
        join pg_catalog.pg_class v on v.reltype = p.prorettype
        where v.oid = to_regclass(%s) and starts_with(pg_catalog.obj_description(p.oid, 'pg_proc'), %s)
        order by 1
        """,
        (view, API_MARK),
    ).fetchall()
    return [row[0] for row in rows]


def _try(
    op: CreateApiVersion, create: str, functions: Mapping[str, _Function], view: str, draft: TableDraft, where: str
) -> None:
    with draft.rehearsal.conn.transaction(force_rollback=True):
        draft.spec.keep(create, where)
        for name, function in functions.items():
            for statement in function.statements((), draft.migration):
                draft.spec.keep(statement, f"{where}.functions.{name}")
        row = draft.rehearsal.conn.execute(
            "select pg_catalog.pg_relation_is_updatable(to_regclass(%s), false)", (view,)
        ).fetchone()
    if op.writable and (row is None or row[0] & _WRITABLE != _WRITABLE):
        raise SpecError(
            "PostgreSQL could not write through this view",
            where=f"{where}.writable",
            hint="Show plain columns, without aggregates or functions that return sets; or remove writable.",
        )


def _refuse_stranger(role: str, draft: TableDraft, where: str) -> None:
    """The view runs with the rights of its users, and gives them none on the table."""
    known = draft.rehearsal.conn.execute("select 1 from pg_catalog.pg_roles where rolname = %s", (role,)).fetchone()
    if known is None:
        raise SpecError(f"there is no role {role}", where=where, hint="Create it first.")
    row = draft.rehearsal.conn.execute(
        "select pg_catalog.has_any_column_privilege(%s::name, %s, 'select')", (role, draft.real)
    ).fetchone()
    if not (row and row[0]):
        raise PreflightError(
            f"{role} may not read {draft.full_name}, and the view gives no rights on it",
            where=where,
            hint=f"grant select on {draft.real} to {quote(role)}, or only the columns that the view shows.",
        )
