"""Names on MariaDB: quoting, literals, and what our own tables and triggers are called."""

from typing import Final

from tasks.model.names import OWN_PREFIX, backticked

quote: Final = backticked
"""Quote an identifier, always."""


def bare(full_name: str) -> str:
    """Return the name of a table without its database."""
    return full_name.rpartition(".")[2]


def literal(text: str) -> str:
    """Write a text as SQL, whatever the sql_mode says of backslashes."""
    return "0x" + text.encode().hex() if text else "''"


def text_literal(text: str) -> str:
    """Write a text as SQL with its characters, not bytes; compared with a column, the column's collation holds."""
    return f"_utf8mb4 {literal(text)}" if text else "''"


def quoted(text: str) -> str:
    """Write a text as SQL that people can read, where backslashes escape: in every session of ours."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def own(tag: str, number: int, role: str) -> str:
    """Name a table or trigger of ours: short, so that a suffix always fits."""
    return f"{OWN_PREFIX}{tag}_{number}_{role}"
