"""The new table as its author writes it down, whole: what becomes of every column is said, never guessed."""

import re
from collections.abc import Sequence

from tasks.engines.mysql.planning.change import Change, without_rows
from tasks.model.catalogue import Table
from tasks.model.errors import SpecError
from tasks.model.operations import AnyOperation, RebuildTable

_CREATE = re.compile(r"\s*create\s+table\s+(`(?:[^`]|``)+`|[\w$]+)\s*(?=\()", re.IGNORECASE)


def by_definition(operations: Sequence[AnyOperation], table: Table) -> Change | None:
    """Return what a spec with a definition asks for; None without one. Raises SpecError for what it cannot mean."""
    defined = [one for one in operations if isinstance(one, RebuildTable) and one.definition]
    if not defined:
        return None
    if len(operations) > 1:
        raise SpecError(
            "a definition says all about the new table",
            where="operations",
            hint="Put the other operations into the definition, or leave it out.",
        )
    asked, where = defined[0], "operations[0].rebuild_table.definition"
    found = _CREATE.match(asked.definition or "")
    if found is None or found[1].removeprefix("`").removesuffix("`").replace("``", "`") != table.name:
        raise SpecError(
            f"it does not begin with `create table {table.name} (`",
            where=where,
            hint="Write the table as SHOW CREATE TABLE does, under its present name.",
        )
    definition = without_rows((asked.definition or "")[found.end() :].rstrip().rstrip(";"), table.full_name)
    change = Change(table=table, definition=definition)
    change.say(asked)
    return change
