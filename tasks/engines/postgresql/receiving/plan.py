"""The table of PostgreSQL that rows come into, wherever they are from."""

from collections.abc import Sequence

from tasks.engines.receiving.plan import helpers_of
from tasks.model.names import quote
from tasks.model.spec import MigrationSpec
from tasks.model.transfer import Destination
from tasks.model.transfer_steps import Relation


def relation(
    spec: MigrationSpec,
    to: Destination,
    source: str,
    lines: Sequence[str],
    key: Sequence[str],
    *,
    numbered: str = "",
    next_number: str = "",
) -> Relation:
    """Return the table that is made: `lines` are its columns, `source` is what the rows are of.

    It stands in a schema of ours until the swap. That is the same whenever this migration is planned.
    """
    schema, _, name = (to.table or "").rpartition(".")
    helpers = helpers_of(spec, source)
    body = ",\n  ".join([*lines, f"primary key ({', '.join(map(quote, key))})"])
    return Relation(
        database=to.database,
        schema_name=schema or "public",
        name=name,
        helpers=helpers,
        create=f"create table {quote(helpers)}.{quote(name)} (\n  {body}\n)",
        numbered=numbered,
        next_number=next_number,
        does="make",
    )
