"""The queries of the inspection: one file a query, each for all tables at once."""

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@cache
def query(name: str) -> bytes:
    """Return the text of the query of this name.

    Bytes, because psycopg takes only literals as text. A per cent sign in a query is written twice.
    """
    return (_FOLDER / f"{name}.sql").read_bytes()
