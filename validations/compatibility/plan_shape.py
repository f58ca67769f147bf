"""The shape that a plan leads to, and what it renames, as far as the spec tells."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tasks.model.catalogue import Column, Constraint, Index, Table
from tasks.model.names import own_name
from tasks.model.plan import Plan
from tasks.model.steps import Backfill, Copy
from validations.compatibility.changes import Change, changes
from validations.compatibility.document_shape import of_documents

Operation = Mapping[str, Any]
_KINDS = {"foreign_key": "foreign key", "primary_key": "primary key", "exclude": "exclusion"}
_DROPS = ("drop_constraint", "drop_multicolumn_constraint")


def of_plan(plan: Plan) -> tuple[Change, ...]:
    """Return what applications that know the old shape will meet in the new one."""
    documents = plan.spec.get("documents")
    if isinstance(documents, Mapping):
        return of_documents(documents)
    renamed: dict[str, str] = {}
    tables = {table.full_name: table for table in plan.catalogue.tables}
    for kind, operation in _operations(plan):
        if kind in _OF_NO_TABLE:
            tables = {full: _OF_NO_TABLE[kind](table, operation, plan) for full, table in tables.items()}
            continue
        name = _full_name(tables, str(operation.get("table") or operation.get("name") or operation.get("from") or ""))
        table = tables.get(name)
        if table is None:
            continue
        if kind == "drop_table":
            del tables[name]
        elif kind == "merge_tables":
            tables.pop(_full_name(tables, operation["from"]), None)
        elif kind == "rename_table":
            renamed[name] = operation["to"]
        elif kind == "rename_column":
            renamed[f"{name}.{operation['from']}"] = operation["to"]
            tables[name] = _with(table, operation["from"], name=operation["to"])
        elif kind == "rebuild_table":
            called = operation.get("renamed") or {}
            renamed |= {f"{name}.{old}": to for old, to in called.items()}
            tables[name] = _rebuilt(table, operation.get("dropped") or (), called, plan)
        else:
            tables[name] = _changed(table, kind, operation, plan)
    new = tuple(t.model_copy(update={"name": renamed.get(name, t.name)}) for name, t in tables.items())
    return changes(plan.catalogue, plan.catalogue.model_copy(update={"tables": new}), renamed=renamed)


def _operations(plan: Plan) -> Iterator[tuple[str, Operation]]:
    listed = plan.written_out or plan.spec.get("operations")
    for operation in listed if isinstance(listed, list | tuple) else ():
        yield from operation.items()


def _full_name(tables: Mapping[str, Table], name: str) -> str:
    return next((full for full, table in tables.items() if name in (full, table.name)), name)


def _changed(table: Table, kind: str, operation: Operation, plan: Plan) -> Table:
    if kind == "add_column":
        return table.model_copy(update={"columns": (*table.columns, _added(operation, plan, table))})
    if kind in ("drop_column", "move_column", "extract_lookup", "extract_junction", "split_table"):
        gone = operation["columns"] if kind == "split_table" else [operation["column"]]
        kept = tuple(column for column in table.columns if column.name not in gone)
        return table.model_copy(update={"columns": kept})
    if kind == "alter_column":
        return _altered(table, operation, plan)
    if kind in _DROPS:
        kept_constraints = tuple(one for one in table.constraints if one.name != operation["name"])
        return table.model_copy(update={"constraints": kept_constraints})
    if kind == "create_constraint":
        return _constrained(table, operation["name"], operation["type"])
    return _restricted(table, kind, operation)


def _rebuilt(table: Table, dropped: Collection[str], renamed: Mapping[str, str], plan: Plan) -> Table:
    """Return a table with the columns that a definition leaves, whose types the plan tells."""
    kept = (column for column in table.columns if column.name not in dropped)
    called = [column.model_copy(update={"name": renamed.get(column.name, column.name)}) for column in kept]
    typed = tuple(c.model_copy(update={"type": _type(plan, table, c.name, c.type)}) for c in called)
    return table.model_copy(update={"columns": typed})


def _restricted(table: Table, kind: str, operation: Operation) -> Table:
    if kind == "clean_column" and operation.get("check"):
        return _constrained(table, operation["check"], "check")
    if kind == "create_index" and operation.get("unique"):
        return table.model_copy(update={"indexes": (*table.indexes, _unique_index(operation))})
    return table


def _unique_index(operation: Operation) -> Index:
    columns = tuple(str(field["column"]) for field in operation["columns"] if field.get("column"))
    return Index(
        name=operation["name"], definition="", columns=columns, referenced=columns, unique=True,
        partial=bool(operation.get("predicate")), expressions=len(columns) < len(operation["columns"]),
    )  # fmt: skip


def _without_index(table: Table, operation: Operation, _: Plan) -> Table:
    name = operation["name"].rpartition(".")[2]
    return table.model_copy(update={"indexes": tuple(index for index in table.indexes if index.name != name)})


def _of_domain(table: Table, operation: Operation, plan: Plan) -> Table:
    """Return a table with the check that one of its columns gets by its domain, where it has one."""
    check = (operation.get("check") or {}).get("name")
    met = any(one.constraint == check and one.table == table.full_name for one in plan.requirements)
    return _constrained(table, check, "check") if check and met else table


_OF_NO_TABLE = {"drop_index": _without_index, "alter_type": _of_domain}
"""Operations that do not name the tables that they are about."""


def _added(operation: Operation, plan: Plan, table: Table) -> Column:
    column = operation["column"]
    # What `up` fills is filled by dual write for as long as old applications write.
    filled = column.get("default") or operation.get("up")
    return Column(
        name=column["name"], type=_type(plan, table, column["name"], column["type"]),
        nullable=column.get("nullable", True), default=filled,
    )  # fmt: skip


def _altered(table: Table, operation: Operation, plan: Plan) -> Table:
    name = operation["column"]
    change: dict[str, Any] = {}
    if operation.get("type"):
        change["type"] = _type(plan, table, name, operation["type"], altered=True)
    if operation.get("nullable") is not None:
        change["nullable"] = operation["nullable"]
    if "default" in operation:
        change["default"] = operation["default"]
    table = _with(table, name, **change)
    for kind, key in (("check", "check"), ("unique", "unique"), ("foreign_key", "references")):
        if operation.get(key):
            table = _constrained(table, operation[key]["name"], kind)
    return table


def _with(table: Table, column: str, **change: Any) -> Table:
    columns = tuple(c.model_copy(update=change) if c.name == column else c for c in table.columns)
    return table.model_copy(update={"columns": columns})


def _constrained(table: Table, name: str, kind: str) -> Table:
    added = Constraint.model_validate(
        {"name": name, "kind": _KINDS.get(kind, kind), "definition": f"{kind} {name}", "columns": ()}
    )
    return table.model_copy(update={"constraints": (*table.constraints, added)})


def _type(plan: Plan, table: Table, column: str, written: str, *, altered: bool = False) -> str:
    """Return the type as the catalogue prints it, which the plan knows of every column that it fills."""
    wanted = own_name("new", column) if altered else column
    for step in plan.steps:
        if isinstance(step.action, Backfill | Copy) and step.action.alias == table.name:
            for assignment in step.action.assignments:
                if assignment.column in (wanted, column):
                    return assignment.type
    return written
