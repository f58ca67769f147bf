"""Lines of COPY, as PostgreSQL reads its text format."""

from collections.abc import Iterable
from typing import Final

NULL: Final = b"\\N"


def escaped(piece: bytes) -> bytes:
    """Escape what has a meaning within a line."""
    piece = piece.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return piece.replace(b"\t", b"\\t").replace(b"\r", b"\\r")


def line_of(texts: Iterable[str | None]) -> bytes:
    """Return the line of a row, without its end; None is NULL."""
    return b"\t".join([NULL if text is None else escaped(text.encode()) for text in texts])
