"""The types of whichever database takes documents as rows."""

from collections.abc import Mapping
from typing import Final, Literal

from tasks.engines.mongodb.rows.held import Types
from tasks.engines.mongodb.rows.in_mariadb import MariaTypes
from tasks.engines.mongodb.rows.in_postgresql import PostgresTypes
from tasks.model.transfer_steps import RowTransfer

Taker = Literal["postgresql", "mariadb"]
TYPES: Final[Mapping[Taker, Types]] = {"postgresql": PostgresTypes(), "mariadb": MariaTypes()}


def types_of(action: RowTransfer) -> Types:
    """Return those of the database that a copy goes into."""
    return TYPES[action.into.engine]
