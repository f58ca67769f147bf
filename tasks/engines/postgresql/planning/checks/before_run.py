"""What can be known of the rows before anything is done: the new shape, as it would be, asked what it demands.

The new columns do not exist yet, so every question is asked of a `with` item that gives the table with the values
that `up` would fill in. What `up` mends is therefore no violation.
"""

from collections.abc import Iterator, Sequence

from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.shape import Target
from tasks.model.catalogue import Index
from tasks.model.conversion import Conversion
from tasks.model.names import quote
from tasks.model.plan import Comparison, Requirement

SHAPE = quote("_changeover_shape")


def conversions(draft: TableDraft) -> Iterator[Conversion]:
    """Every value that `up` gives has to fit into its column; what it gives by chance is not asked for."""
    for target in draft.shape.targets:
        if _by_chance(target) or _as_it_is(draft, target):
            continue
        yield Conversion(
            name=f"{draft.full_name}.{target.name} can hold what up gives, as {target.type}",
            table=draft.full_name,
            relation=draft.real,
            alias=draft.table.name,
            key=draft.naming,
            sources=target.sources,
            expression=target.up,
            type=target.type,
        )


def requirements(draft: TableDraft) -> Iterator[Requirement]:
    """The restrictions of the new shape, and that `down` brings back what is there."""
    shape = _shape(draft)
    for one in draft.requirements:
        if one.gate != "before_swap" or one.kind == "structure":
            continue
        if found := _asked_now(draft, one, shape):
            yield found
    for index in draft.table.indexes:
        if found := _still_unique(draft, index, shape):
            yield found
    if draft.shape.targets:
        yield from _broken_already(draft)


def _broken_already(draft: TableDraft) -> Iterator[Requirement]:
    """An UPDATE checks the whole row: a row that breaks a constraint which nobody validated cannot be filled."""
    for constraint in draft.table.constraints:
        if constraint.validated or constraint.kind not in ("check", "not null"):
            continue
        if constraint.kind == "not null":
            broken = f"{quote(constraint.columns[0])} is null"
        else:
            demand = constraint.definition.removeprefix("CHECK ").removesuffix(" NOT VALID").removesuffix(" NO INHERIT")
            broken = f"not {demand}"
        yield Requirement(
            name=f"no row of {draft.full_name} breaks {constraint.name}, which is not validated: no UPDATE fills those",
            table=draft.full_name,
            kind="not null" if constraint.kind == "not null" else "check",
            constraint=constraint.name,
            gate="before_run",
            violations=f"select {draft.key_list()} from {draft.real} as {quote(draft.table.name)} where {broken}",
        )


def coming_back(draft: TableDraft, comparisons: Sequence[Comparison]) -> Iterator[Requirement]:
    """Ask beforehand what the gate before the swap will: whether `down` gives the old values again."""
    shape = _shape(draft)
    for one in comparisons:
        if one.table != draft.full_name or one.kind != "down":
            continue
        query = f"select {', '.join(map(quote, one.key)) or '1'} from {one.source} where {one.differs}"
        query = _over(draft, query, shape)
        if draft.rehearsal.can_run(query):
            yield Requirement(
                name=one.name, table=draft.full_name, kind="parity", gate="before_run", violations=query,
                fix=f"select * from {draft.real} where ({draft.key_list()}) in (\n{query}\n)" if draft.naming else "",
            )  # fmt: skip


def _by_chance(target: Target) -> bool:
    return target.volatile and not target.elsewhere


def _as_it_is(draft: TableDraft, target: Target) -> bool:
    column = draft.table.column(target.sources[0]) if len(target.sources) == 1 else None
    return column is not None and target.up.strip() == quote(column.name) and target.type == column.type


def _shape(draft: TableDraft) -> str:
    """Return the columns that the new shape adds, by their names before the swap."""
    added = []
    for target in draft.shape.targets:
        if _by_chance(target):
            continue
        collation = draft.rehearsal.collation(target.name)
        # A column has a collation of its own, which an expression in its place would not have.
        value = f"({target.up}\n)::{target.type}" + (f" collate {collation}" if collation else "")
        added.append(f"{value} as {quote(target.before)}")
    for name, type_name in draft.shape.plain_new.items():
        default = draft.rehearsal.new_column(name)[1] or "null"
        added.append(f"({default})::{type_name} as {quote(name)}")
    return "".join(f", {one}" for one in added)


def _over(draft: TableDraft, query: str, shape: str) -> str:
    """Let a query read the table with the columns to come; also where an expression of the author's names the table."""
    alias = quote(draft.table.name)
    return f"with {SHAPE} as not materialized (select {alias}.*{shape} from {draft.real} as {alias})\n" + query.replace(
        f" from {draft.real}", f" from {SHAPE}"
    )


def _asked_now(draft: TableDraft, one: Requirement, shape: str) -> Requirement | None:
    now = draft.rehearsal.can_run(one.violations)
    query = one.violations if now else _over(draft, one.violations, shape)
    if not now and not draft.rehearsal.can_run(query):
        # It needs what only chance, or another table of the migration, will give.
        return None
    rows, fix = _rows_and_fix(draft, one, query)
    return one.model_copy(
        update={"gate": "before_run", "violations": query, "reads_new": False, "rows": rows, "fix": one.fix or fix}
    )


def _rows_and_fix(draft: TableDraft, one: Requirement, query: str) -> tuple[str, str]:
    if not draft.naming:
        return "", ""
    keys = draft.key_list()
    broken = f"({keys}) in (\n{query}\n)"
    if one.kind == "unique":
        return _duplicates(draft, query)
    if one.kind == "references":
        return "", f"delete from {draft.real} where {broken}"
    if one.kind == "not null":
        column = _not_null_column(draft, one)
        return "", f"update {draft.real} set {quote(column)} = <value> where {broken}"
    return "", f"update {draft.real} set <column> = <value> where {broken}"


def _not_null_column(draft: TableDraft, one: Requirement) -> str:
    """Return the column of today that is NULL: the first that `up` reads, or the column itself."""
    name = one.name.removeprefix(f"{draft.full_name}.").removesuffix(" is not null")
    target = next((t for t in draft.shape.targets if t.name == name), None)
    if target is not None and target.sources:
        return name if name in target.sources else target.sources[0]
    return next((old for old, new in draft.renamed.items() if new == name), name)


def _duplicates(draft: TableDraft, query: str) -> tuple[str, str]:
    """Return queries for the keys of rows that share their values, and for all but the first of each."""
    start = query.rindex("select ", 0, query.index(" group by "))
    prefix, plain = query[:start], query[start:]
    listed, _, rest = plain.removeprefix("select ").partition(" from ")
    source = rest[: rest.rindex(f" group by {listed} having ")]
    return sharing(draft.real, draft.key_list(), listed, source, prefix)


def sharing(real: str, keys: str, listed: str, source: str, prefix: str = "") -> tuple[str, str]:
    """Return a query for the keys of the rows that share what is listed, and a statement that keeps the first of each.

    `source`: a FROM item that has the columns of the key and what is listed, with its condition.
    """
    counted = f"select {keys}, count(*) over same as _changeover_n"
    counted += f", row_number() over (same order by {keys}) as _changeover_place"
    rows = f"{prefix}select {keys} from (\n{counted} from {source} window same as (partition by {listed})\n) as d"
    doomed = f"{rows} where _changeover_place > 1"
    return f"{rows} where _changeover_n > 1", f"delete from {real} where ({keys}) in (\n{doomed}\n)"


def _still_unique(draft: TableDraft, index: Index, shape: str) -> Requirement | None:
    """A unique index that is built again on new values: a conversion, or another collation, may make them equal."""
    if not index.unique or not set(index.referenced) & draft.altered.keys() or index.without_overlaps:
        return None
    if draft.rehearsal.index_definition(index.name, index.name, draft.lasting) is None:
        return None
    query = _over(draft, draft.rehearsal.duplicates_query(index.name, draft.lasting), shape)
    if not draft.rehearsal.can_run(query):
        return None
    rows, fix = _duplicates(draft, query) if draft.naming else ("", "")
    return Requirement(
        name=f"{draft.full_name} stays unique by {index.name}",
        table=draft.full_name,
        kind="unique",
        constraint=index.name,
        gate="before_run",
        violations=query,
        rows=rows,
        fix=fix,
    )
