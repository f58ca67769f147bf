"""What applications will notice of a plan, in sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from tasks.model.plan import Plan
from tasks.model.steps import Phase

_CACHED = (
    "a prepared statement that {reads} fails once with 'cached plan must not change result type': prepare it again"
)


def notices(plan: Plan) -> tuple[str, ...]:
    """Return what applications may notice, in the order in which it happens."""
    if plan.strategy == "cross_database" and plan.catalogue.engine in ("mysql", "mongodb"):
        # What it asks of people, its findings say.
        return ()
    if plan.catalogue.engine == "mysql":
        return tuple(_mysql(plan))
    if plan.catalogue.engine == "mongodb":
        return tuple(_rebuilt(plan) if plan.strategy == "shadow_table" else _mongodb(plan))
    if plan.strategy == "shadow_table":
        return tuple(dict.fromkeys(_shadow(plan)))
    found = [*_versions(plan), *_new_columns(plan), *_restrictions(plan), *_swapped(plan), *_contracted(plan)]
    return tuple(dict.fromkeys(found))


def _mysql(plan: Plan) -> Iterator[str]:
    if plan.strategy == "expand_contract":
        yield from _mysql_in_place(plan)
        return
    for table in plan.tables:
        yield f"from dual write on, each write to {table} takes about twice as long, and locks a row of the new table"
        yield (
            f"at the swap, {table} has its new shape from one statement to the next; the swap waits for transactions"
            " that have used the table, and statements wait behind it within the lock budget"
        )
        yield f"TRUNCATE of {table} fires no trigger: the gates, and a rollback, refuse after it"


def _mongodb(plan: Plan) -> Iterator[str]:
    action = plan.reshape
    for pair in action.pairs:
        yield f"from the backfill on, documents of {action.collection} have {pair.new}, which follows within a second"
        if pair.old:
            yield f"from contract on, no document has {pair.old}: no application may read or write it by then"
    if action.pairs:
        yield (
            f"until contract, documents have a field {action.marker}, too: who replaces whole documents may keep it or"
            " leave it out"
        )
        yield "nobody keeps both in step between the end of the run and contract, or rollback, which do it first"
    for step in plan.phase(Phase.INDEX):
        yield (
            f"{step.title[0].lower()}{step.title[1:]}: it ends with a lock that MongoDB takes itself, which waits for"
            " transactions that have used the collection; other writes wait behind it, beyond the lock budget"
        )
    for path in action.removed:
        yield f"from contract on, no document of {action.collection} has {'.'.join(path)}"
    if any(step.key.endswith("/validator") for step in plan.phase(Phase.CONTRACT)):
        yield f"from contract on, writes to {action.collection} that are not valid fail; the log warns of them before"


def _rebuilt(plan: Plan) -> Iterator[str]:
    for table in plan.tables:
        yield (
            f"at the swap, {table} is another collection, with its new shape, from one statement to the next; writes"
            " wait within the lock budget, reads do not"
        )
        yield (
            "statements that are under way in that moment and go through many documents fail with QueryPlanKilled: an"
            " update or delete of many, a cursor that is read on"
        )
        yield (
            f"transactions that come to {table} in that moment, or have begun before it, fail with"
            " TransientTransactionError: drivers try them again by withTransaction"
        )
        yield f"change streams of others on {table} end with invalidate at the swap, and are opened anew by startAfter"


def _shadow(plan: Plan) -> Iterator[str]:
    for table in plan.tables:
        yield f"from dual write on, each write to {table} takes about twice as long"
        yield (
            f"at the swap, {table} has its new shape from one statement to the next; statements wait behind it within"
            " the lock budget"
        )
    for kind, operation in _operations(plan):
        table = _table(plan, operation.get("table", ""))
        if kind == "alter_column" and operation.get("type"):
            column = f"{table}.{operation['column']}"
            yield f"at the swap, {column} becomes {operation['type']}; " + _CACHED.format(reads=f"returns {column}")
        elif kind == "alter_column" and "up" in operation:
            yield f"at the swap, {table}.{operation['column']} shows its new values"
        elif kind == "alter_column" and operation.get("nullable") is False:
            yield f"from the swap on, {table}.{operation['column']} takes no NULL; until then the swap waits for them"
        elif kind == "add_column" or (kind == "rebuild_table" and operation.get("columns")):
            yield f"from the swap on, select * from {table} returns other columns; " + _CACHED.format(reads="selects *")
        elif kind in ("drop_column", "rename_column"):
            gone = operation["from" if kind == "rename_column" else "column"]
            yield f"from the swap on, statements that name {table}.{gone} fail"
        elif kind == "create_constraint":
            yield (
                f"from the swap on, {table} refuses rows that break {operation['name']}; until then they are taken, and"
                " the swap waits until they are corrected"
            )
        elif kind == "drop_constraint":
            yield (
                f"from the swap on, {table} no longer refuses rows that break {operation['name']}; a rollback is"
                " refused while there are any, unless their loss is accepted"
            )
        elif kind == "drop_index":
            yield f"from the swap on, statements can no longer be planned with the index {operation['name']}"


def _mysql_in_place(plan: Plan) -> Iterator[str]:
    for table in plan.tables:
        yield (
            f"at the swap, {table} has its new shape from one statement to the next; the swap waits for transactions"
            " that have used the table"
        )
    kinds = {kind for kind, _ in _operations(plan)}
    if "add_column" in kinds:
        yield "from the swap on, an INSERT without a list of columns fails: it has too few values for the new column"
        yield "a rollback drops what is new, with the values that were written to it since"
    if "drop_column" in kinds:
        yield "until contract, a column that is dropped is there: applications may go on to read and to write it"


def _operations(plan: Plan) -> Iterator[tuple[str, Mapping[str, Any]]]:
    together = plan.spec.get("strategy", "expand_contract") == "expand_contract" and plan.written_out
    listed = together or plan.spec.get("operations")
    for operation in listed if isinstance(listed, list | tuple) else ():
        yield from operation.items()


def _table(plan: Plan, name: str) -> str:
    return next((full for full in plan.tables if name in (full, full.rpartition(".")[2])), name)


def _versions(plan: Plan) -> Iterator[str]:
    if plan.version is not None:
        yield (
            f"applications that put {plan.version} first in their search_path see the new shape from the approval on,"
            " and those of the version before see the old one until contract;"
            " the rest is for those that name the tables themselves"
        )


def _new_columns(plan: Plan) -> Iterator[str]:
    widened = {
        _table(plan, operation["table"])
        for kind, operation in _operations(plan)
        if kind in ("add_column", "rename_column")
        or (kind == "alter_column" and ("up" in operation or "type" in operation))
    }
    for table in sorted(widened):
        yield (
            f"from expand on, select * from {table} returns additional columns, until contract; "
            + _CACHED.format(reads="selects *")
        )


def _restrictions(plan: Plan) -> Iterator[str]:
    known = {
        f"{table.full_name}.{column.name}"
        for table in plan.catalogue.tables
        for column in table.columns
        if not column.nullable
    }
    for one in plan.requirements:
        if one.gate == "before_swap" and one.kind in ("not null", "check", "unique", "references"):
            if one.kind == "not null" and one.name.split(" ")[0] in known:
                continue
            yield f"from constrain on, {one.table} refuses rows that break: {one.name}"


def _swapped(plan: Plan) -> Iterator[str]:
    for kind, operation in _operations(plan):
        if kind == "alter_column" and operation.get("type"):
            column = f"{_table(plan, operation['table'])}.{operation['column']}"
            yield f"at the swap, {column} becomes {operation['type']}; " + _CACHED.format(reads=f"returns {column}")
        elif kind == "alter_column" and "up" in operation:
            column = f"{_table(plan, operation['table'])}.{operation['column']}"
            yield f"at the swap, {column} shows its new values"
        elif kind == "rename_column":
            table = _table(plan, operation["table"])
            yield f"{table} has both {operation['from']} and {operation['to']}, in step, from dual write until contract"
        elif kind == "rename_table":
            yield (
                f"from expand until contract, {_table(plan, operation['from'])} has both names, {operation['from']}"
                f" and {operation['to']}; one of them is a view, which takes no COPY FROM and no TRUNCATE"
            )
        elif kind in ("move_column", "denormalize"):
            source, target = _table(plan, operation["table"]), _table(plan, operation["to"])
            new = operation.get("to_column", operation["column"])
            yield (
                f"from dual write until contract, {source}.{operation['column']} and {target}.{new} follow each"
                " other when a transaction commits"
            )
        elif kind == "extract_lookup":
            table = _table(plan, operation["table"])
            new = operation.get("reference", f"{operation['column']}_id")
            yield (
                f"from dual write until contract, {table} has both {operation['column']} and {new}, in step; the values"
                f" in {operation['to']} can be added to, not changed or deleted"
            )
        elif kind == "extract_junction":
            yield (
                f"from dual write until contract, {_table(plan, operation['table'])}.{operation['column']} and"
                f" {operation['to']} follow each other when a transaction commits"
            )
        elif kind == "split_table":
            yield (
                f"from dual write until contract, {_table(plan, operation['table'])} and {operation['to']} both have"
                f" {', '.join(operation['columns'])}, and follow each other when a transaction commits"
            )
        elif kind == "merge_tables":
            yield (
                f"from dual write until contract, {_table(plan, operation['table'])} has the columns of"
                f" {operation['from']}, and the two follow each other when a transaction commits"
            )
        elif kind in ("drop_constraint", "drop_multicolumn_constraint"):
            table = _table(plan, operation["table"])
            yield f"from the swap on, {table} no longer refuses rows that break {operation['name']}"


def _contracted(plan: Plan) -> Iterator[str]:
    for kind, operation in _operations(plan):
        gone = operation.get("from") if kind == "rename_column" else operation.get("column")
        if kind in ("drop_column", "rename_column", "move_column", "extract_lookup", "extract_junction"):
            yield f"after contract, statements that name {_table(plan, operation['table'])}.{gone} fail"
        elif kind == "split_table":
            for gone in operation["columns"]:
                yield f"after contract, statements that name {_table(plan, operation['table'])}.{gone} fail"
        elif kind in ("drop_table", "rename_table", "merge_tables"):
            name = operation.get("name") or operation["from"]
            yield f"after contract, statements that name {_table(plan, name)} fail"
        elif kind == "drop_index":
            yield f"after contract, statements can no longer be planned with the index {operation['name']}"
