"""Single values of a pgroll file: what counts as left out, and how an expression is written."""

import re
from collections.abc import Mapping
from typing import Any

from tasks.model.document import Document, Location

_QUERY = re.compile(r"(select|with|values)\b", re.IGNORECASE)
_CHECK = re.compile(r"CHECK (?=\()")
_FLAGS = {
    "deferrable",
    "initially_deferred",
    "no_inherit",
    "nullable",
    "nulls_not_distinct",
    "onComplete",
    "pk",
    "unique",
}
_OLD_FLAGS = {
    **dict.fromkeys(("y", "yes", "on"), True),
    **dict.fromkeys(("n", "no", "off"), False),
}
"""pgroll reads YAML 1.1, where these are no texts unless they are quoted."""


def given(document: Document, body: Mapping[str, Any], at: Location, *, keep: frozenset[str]) -> dict[str, Any]:
    """Return what a mapping says: to pgroll, null and an empty text are a key that was left out.

    `keep` names the keys whose null means something.
    """
    found = {key: _flag(document, key, value, (*at, key)) for key, value in body.items()}
    return {key: value for key, value in found.items() if key in keep or value not in (None, "")}


def _flag(document: Document, key: str, value: Any, at: Location) -> Any:
    if key in _FLAGS and isinstance(value, str) and getattr(document.find(at).node, "style", None) is None:
        return _OLD_FLAGS.get(value.lower(), value)
    return value


def expression(value: Any) -> Any:
    """Put a query into parentheses, as pgroll does, so that it is a value."""
    if not isinstance(value, str) or not _QUERY.match(value.strip()) or value.rstrip().endswith(";"):
        return value
    # What follows a remark in the last line would belong to the remark.
    return f"({value.strip()}\n)" if "--" in value else f"({value.strip()})"


def condition(value: Any) -> Any:
    """Leave out the word CHECK, which pgroll lets stand before the condition."""
    return _CHECK.sub("", value, count=1) if isinstance(value, str) and _CHECK.match(value) else value


def upper(body: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Write key words in capitals: pgroll takes them either way."""
    return {key: value.upper() if key in keys and isinstance(value, str) else value for key, value in body.items()}
