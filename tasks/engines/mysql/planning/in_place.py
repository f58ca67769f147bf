"""A change that the server makes at once, in the table itself: expand-contract on MariaDB.

Whether it can is not read from a list of rules: an empty table of the same shape is changed, there and back, and every
statement names the algorithm, so that the server refuses what it could only do slowly. One ALTER is the swap; what
drops something waits for the contract.
"""

import re
from collections.abc import Iterator, Sequence, Set

import pymysql

from tasks.engines.mysql.inspect import estimate, inspect
from tasks.engines.mysql.names import quote, text_literal
from tasks.engines.mysql.planning import others
from tasks.engines.mysql.planning.carried import account_for
from tasks.engines.mysql.planning.change import Change, change_of
from tasks.engines.mysql.planning.probe import probe
from tasks.engines.mysql.planning.refuse import refuse_kind
from tasks.engines.mysql.session import MariaSession
from tasks.engines.mysql.sessions import tag
from tasks.engines.mysql.transient import code_of
from tasks.model.catalogue import Catalogue, Column, Table
from tasks.model.catalogue_difference import compare
from tasks.model.errors import SpecError
from tasks.model.plan import Finding, Plan, Requirement
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Lock, LockMode, Phase, Risk, SelfCommitting, Step

_ELSEWHERE = "Write `strategy: shadow_table`."


def plan_in_place(conn: MariaSession, spec: MigrationSpec, catalogue: Catalogue) -> Plan:
    """Draw up the plan of a change that nobody waits for. Raises SpecError for one that the server does not make so."""
    table = catalogue.tables[0]
    refuse_kind(table)
    change = change_of(spec.operations, table, conn.dialect)
    _refuse_what_is_computed(change)
    drops = [f"drop index {quote(name)}" for name in change.dropped_indexes]
    drops += [f"drop column {quote(name)}" for name in sorted(change.dropped)]
    clauses = [clause for clause in change.clauses if clause not in drops]
    gone = change.leaving
    others.refuse_mentioned(conn, table, gone)
    with probe(conn, tag(spec.migration)) as name:
        conn.execute(f"create table {quote(name)} like {quote(table.name)}")
        forward = _alter(conn, clauses, name)
        new = _renamed(inspect(conn, [name]).tables[0], table)
        back = _way_back(conn, change, table, new)
        inverse = _alter(conn, back, name)
        _refuse_another_way_back(table, _renamed(inspect(conn, [name]).tables[0], table))
        _alter(conn, clauses, name)
        last = _alter(conn, drops, name, dropping=True)
        end = inspect(conn, [name]).tables[0]
        account_for(change, end)
    _refuse_foreign_keys(table, {*gone, *(c.name for c in table.columns if new.column(c.name) != c)}, end)
    return Plan(
        migration=spec.migration,
        database=spec.database,
        strategy=spec.strategy,
        spec=spec.model_dump(mode="json", exclude_defaults=True),
        spec_digest=spec.spec_digest,
        catalogue=catalogue,
        search_path=conn.database,
        steps=tuple(_steps(table, new, change, forward, inverse, last)),
        requirements=(
            *_requirements(table, new),
            *others.requirements(conn, table, new, leaving=gone, last=change.dropped),
        ),
        estimates=(estimate(conn, table),),
        risk=Risk.MEDIUM if gone else Risk.LOW,
        risk_reasons=tuple(_reasons(change)),
        findings=tuple(_findings(table, forward, last)),
    )


def _refuse_what_is_computed(change: Change) -> None:
    if change.up or change.down:
        raise SpecError(
            f"values of {', '.join(sorted({*change.up, *change.down}))} are computed, which takes a pass over the rows",
            where="operations",
            hint=_ELSEWHERE,
        )
    for name in change.dropped:
        column = change.table.column(name)
        if column is not None and not column.nullable and column.default is None:
            raise SpecError(
                f"applications that do not know {name!r} any more could write no row until the contract",
                where=change.table.full_name,
                hint=f"Give the column a default in a migration before. Or: {_ELSEWHERE}",
            )


def _refuse_foreign_keys(table: Table, names: Set[str], end: Table) -> None:
    """A table that is made like another has none of its foreign keys, so the server was not asked about them."""
    ends = [(c.name, c.columns) for c in table.constraints if c.kind == "foreign key"]
    ends += [(key.name, key.referenced_columns) for key in table.inbound]
    for name, columns in ends:
        if found := sorted({*columns} & names):
            raise SpecError(
                f"{found[0]!r} belongs to the foreign key {name}",
                where=table.full_name,
                hint="Drop the foreign key for the migration, and add it again afterwards.",
            )
        if end.indexes != table.indexes and not _indexed(end, columns):
            raise SpecError(
                f"no index is left for the foreign key {name}: the server would refuse to drop the last one",
                where=table.full_name,
                hint=f"Create another index that begins with {', '.join(columns)} in a migration before.",
            )


def _indexed(table: Table, columns: Sequence[str]) -> bool:
    # Not one of the first letters only, nor of words.
    return any(f"{i.definition[:-1]}, ".startswith(f"BTREE ({', '.join(columns)}, ") for i in table.indexes)


def _alter(conn: MariaSession, clauses: Sequence[str], name: str, *, dropping: bool = False) -> str:
    """Change the clone at once; return the clauses with the algorithm that the server takes. Raises SpecError."""
    if not clauses:
        return ""
    said = ""
    # To drop an index takes a moment, too, and is called otherwise; but so is building one, which takes long.
    for how in conn.dialect.in_place if dropping else conn.dialect.in_place[:1]:
        text = f"{', '.join(clauses)}{how}"
        try:
            conn.execute(f"alter table {quote(name)} {text}")
        except pymysql.err.MySQLError as error:
            if conn.closed or code_of(error) is None:
                raise
            said = said or " ".join(map(str, error.args[1:]))
        else:
            return text
    raise SpecError(
        f"the server does not do this at once ({', '.join(clauses)}): {said}", where="operations", hint=_ELSEWHERE
    )


def _renamed(found: Table, table: Table) -> Table:
    """The clone's record under the name of the table, with what a clone does not get."""
    kept = tuple(c for c in table.constraints if c.kind == "foreign key")
    return found.model_copy(
        update={
            "name": table.name,
            "inbound": table.inbound,
            "triggers": table.triggers,
            "constraints": (*(c for c in found.constraints if c.kind != "foreign key"), *kept),
        }
    )


def _way_back(conn: MariaSession, change: Change, table: Table, new: Table) -> list[str]:
    """Return the clauses that undo the change, in the server's own words for what was there."""
    printed = str(conn.execute(f"show create table {quote(table.name)}").fetchone()[1])
    lines = dict(re.findall(r"^  (`(?:[^`]|``)+`)( .*?),?$", printed, re.MULTILINE))
    clauses, known = [], set()
    for column in table.columns:
        place = change.renamed.get(column.name, column.name)
        known.add(place)
        if new.column(place) != column:
            name = quote(column.name)
            clauses.append(f"change column {quote(place)} {name}{lines[name]}")
    return clauses + [f"drop column {quote(column.name)}" for column in new.columns if column.name not in known]


def _refuse_another_way_back(table: Table, found: Table) -> None:
    differences = compare(*(Catalogue(engine="mysql", version="", tables=(one,)) for one in (table, found)))
    if differences:
        raise SpecError(
            f"a rollback in place would leave a difference: {'; '.join(differences[:3])}",
            where=table.full_name,
            hint=_ELSEWHERE,
        )


def _steps(table: Table, new: Table, change: Change, forward: str, inverse: str, last: str) -> Iterator[Step]:
    full, alter = table.full_name, f"alter table {quote(table.name)} "
    locks = (Lock(table=full, mode=LockMode.ACCESS_EXCLUSIVE),)
    yield Step(
        key="swap/all",
        phase=Phase.SWAP,
        title=f"give {full} its new shape, at once" if forward else f"say that {full} has lost nothing yet",
        undo=f"give {full} its old shape, at once" if inverse else "nothing",
        action=SelfCommitting(
            table=full,
            forward=(alter + forward,) if forward else (),
            inverse=(alter + inverse,) if inverse else (),
            locks=locks if forward else (),
            done=_shape(table, _changed(table, new), there=True) if forward else "",
            guard=True,
            outlasts_prepared=bool(forward),
            given=table,
            result=new,
        ),
    )
    if last:
        columns, indexes = (
            ", ".join(text_literal(name) for name in names) or "null"
            for names in (sorted(change.dropped), change.dropped_indexes)
        )
        where = f"table_schema = database() and table_name = {text_literal(table.name)}"
        yield Step(
            key=f"contract/{full}/drop",
            phase=Phase.CONTRACT,
            title=f"drop what {full} has no more use for",
            undo="nothing: this is the point of no return",
            action=SelfCommitting(
                table=full,
                forward=(alter + last,),
                locks=locks,
                outlasts_prepared=True,
                done="select 1 from dual where not exists"
                f" (select 1 from information_schema.columns where {where} and column_name in ({columns})"
                f" union all select 1 from information_schema.statistics where {where} and index_name in ({indexes}))",
            ),
        )


def _changed(table: Table, new: Table) -> list[Column]:
    """Return the columns that only the new shape has, or has so. Raises SpecError when the catalogue would not tell."""
    changed = [column for column in new.columns if table.column(column.name) != column]
    before = {_told(column) for column in table.columns}
    if not changed or any(_told(column) in before for column in changed):
        raise SpecError(
            "the catalogue would not tell the new shape from the old one", where=table.full_name, hint=_ELSEWHERE
        )
    return changed


def _told(column: Column) -> str:
    """What the catalogue says of one column, as a condition."""
    default = "column_default is null" if column.default is None else f"column_default = {text_literal(column.default)}"
    same = [
        f"binary column_name = binary {text_literal(column.name)}",
        f"column_type = {text_literal(column.type)}",
        f"is_nullable = '{'YES' if column.nullable else 'NO'}'",
        f"binary {default}" if column.default is not None else default,
        f"binary column_comment = binary {text_literal(column.comment or '')}",
    ]
    return f"({' and '.join(same)})"


def _shape(table: Table, columns: Sequence[Column], *, there: bool) -> str:
    """A query that returns a row when all of these columns are there, and so; or when they are not."""
    return (
        "select 'columns' as problem from information_schema.columns where table_schema = database()"
        f" and table_name = {text_literal(table.name)} and ({' or '.join(map(_told, columns))})"
        f" having count(*) {'=' if there else '<>'} {len(columns)}"
    )


def _requirements(table: Table, new: Table) -> Iterator[Requirement]:
    for gate, shape, what in (
        ("before_swap", table, "the columns that the plan was made for"),
        ("after_swap", new, "the columns of the new shape"),
    ):
        yield Requirement(
            name=f"{table.full_name} has {what}",
            table=table.full_name,
            kind="check",
            gate="before_swap" if gate == "before_swap" else "after_swap",
            violations=_shape(table, shape.columns, there=False),
        )


def _reasons(change: Change) -> Iterator[str]:
    for before, after in sorted(change.renamed.items()):
        yield f"from the swap on, statements that name {before} fail: it is {after} then"
    for column in sorted(change.dropped):
        yield f"the column {column} is gone after contract"


def _findings(table: Table, forward: str, last: str) -> Iterator[Finding]:
    yield Finding(
        rule="MYS-04",
        severity="note",
        message=f"the server has done this at once to an empty table of the same shape: {forward or last}",
        where=table.full_name,
    )
    if "drop column" in last:
        yield Finding(
            rule="MYS-02",
            severity="note",
            message="contract drops columns without a dump",
            where=table.full_name,
            hint="Keep a backup that is newer than the swap.",
        )
