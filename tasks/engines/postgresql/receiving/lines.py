"""Lines of COPY, as PostgreSQL reads its text format."""

from collections.abc import Sequence
from typing import Final

NULL: Final = b"\\N"


def escaped(piece: bytes) -> bytes:
    """Escape what has a meaning within a line."""
    piece = piece.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return piece.replace(b"\t", b"\\t").replace(b"\r", b"\\r")


def line_of(texts: Sequence[str | None]) -> bytes:
    """Return the line of a row, without its end; None is NULL."""
    line = "\t".join(["\\N" if text is None else text for text in texts])
    if (
        line.count("\\") == texts.count(None)
        and line.count("\t") == len(texts) - 1
        and "\n" not in line
        and "\r" not in line
    ):
        # Most rows: nothing to escape.
        return line.encode()
    return b"\t".join([NULL if text is None else escaped(text.encode()) for text in texts])
