"""Lines of COPY, as PostgreSQL reads its text format."""

from collections.abc import Sequence
from typing import Final

NULL: Final = b"\\N"
_NULL: Final = NULL.decode()
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


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


def lines_of(columns: Sequence[Sequence[str | None]]) -> bytes:
    """Return the lines of rows that are given column by column, joined; None is NULL."""
    nulls = [one.count(None) for one in columns]
    text = _joined([_filled(one) if some else one for one, some in zip(columns, nulls, strict=True)])
    rows = len(columns[0])
    if (
        text.count("\\") == sum(nulls)
        and text.count("\t") == rows * (len(columns) - 1)
        and text.count("\n") == rows - 1
        and "\r" not in text
    ):
        return text.encode()
    return _joined([[_NULL if one is None else one.translate(_ESCAPES) for one in each] for each in columns]).encode()


def _filled(column: Sequence[str | None]) -> list[str]:
    return [_NULL if one is None else one for one in column]


def _joined(columns: Sequence[Sequence[str | None]]) -> str:
    return "\n".join(map("\t".join, zip(*columns, strict=True)))
