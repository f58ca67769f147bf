"""Are the tables of a swap what the plan says? Asked under its locks, before the statements and before the commit."""

from typing import TypeVar

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.inspect import inspect
from tasks.model.catalogue import Catalogue, Constraint, InboundForeignKey, Table
from tasks.model.catalogue_difference import compare
from tasks.model.errors import DataChanged, StepError
from tasks.model.names import OWN_TRIGGERS

_NOT_VALID = " NOT VALID"


def refuse_other_tables(conn: Connection, wanted: Catalogue | None) -> None:
    """Raise StepError when the tables are not what the plan was made for: what it does not know would stay behind."""
    if wanted is not None:
        _refuse(conn, wanted, "the table is not what the plan was made for")


def refuse_other_result(conn: Connection, wanted: Catalogue) -> None:
    """Raise StepError when the tables are not what they should have become: the transaction is rolled back then."""
    _refuse(conn, wanted, "the new table is not what the plan says")


def _refuse(conn: Connection, wanted: Catalogue, what: str) -> None:
    """Compare. Left out are the triggers of dual write; and foreign keys need not be validated yet."""
    names = [table.full_name for table in wanted.tables]
    found = inspect(conn, names, "pg_catalog")
    differences = compare(_compared(wanted), _compared(found))
    if differences:
        raise StepError(
            f"{what}: {'; '.join(differences[:10])}",
            where=", ".join(names),
            hint="Undo what somebody else has changed there and run again, or roll back.",
            changed=DataChanged.PARTIALLY,
        )


def _compared(catalogue: Catalogue) -> Catalogue:
    tables = tuple(_without_ours(table) for table in catalogue.tables)
    return Catalogue(engine=catalogue.engine, version="", tables=tables)


def _without_ours(table: Table) -> Table:
    return table.model_copy(
        update={
            "triggers": tuple(t for t in table.triggers if not t.name.startswith(OWN_TRIGGERS)),
            "constraints": tuple(_plain(c) if c.kind == "foreign key" else c for c in table.constraints),
            "inbound": tuple(_plain(k) for k in table.inbound),
        }
    )


Key = TypeVar("Key", Constraint, InboundForeignKey)


def _plain(key: Key) -> Key:
    return key.model_copy(update={"validated": True, "definition": key.definition.removesuffix(_NOT_VALID)})
