"""URLs of databases: taken apart as libpq does, and shown without their secrets."""

import os
import re
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tasks.model.errors import ProfileError

# What stands before `@` may hold anything: a password that nobody encoded has to go as a whole. Too much
# may be hidden in a text with several `@`; too little never.
_IN_URL: Final = re.compile(r"([a-zA-Z][\w+.-]*://[^/:\s]*:)(?:(?![\s,;'\"(<][a-zA-Z][\w+.-]*://)[^\n])*@")
_IN_ASSIGNMENT: Final = re.compile(
    r"""(?ix) ( \w* (?:password|passwd|passphrase|client_secret) ["']? \s* [=:] \s* )
        (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.|'')*' | [^\s&]+ )"""
)
_IN_SQL: Final = re.compile(r"(?i)(password\s+)'(?:[^']|'')*'")
_SCHEME: Final = re.compile(r"^postgres(?:ql)?(?:\+\w+)?://", re.ASCII)
_UNKNOWN: Final = re.compile(r'^invalid URI query parameter: "([a-z_]+)"')


def redact(value: object) -> str:
    """Give the text of a URL, a message or an exception without any password that stands in it."""
    text = _IN_URL.sub(r"\1***@", str(value))
    text = _IN_ASSIGNMENT.sub(r"\1***", text)
    return _IN_SQL.sub(r"\1'***'", text)


def where(target: str | psycopg.Connection[Any]) -> str:
    """Name the database of a URL or of an open connection as `host:port/database`."""
    if isinstance(target, psycopg.Connection):
        if target.closed:
            return "a closed connection"
        return _place(target.info.host, str(target.info.port), target.info.dbname)
    try:
        found = parameters(target)
    except ProfileError:
        return "an unreadable URL"
    environment = os.environ.get
    user = found.get("user") or environment("PGUSER", "")
    return _place(
        found.get("host") or found.get("hostaddr") or environment("PGHOST", "localhost"),
        found.get("port") or environment("PGPORT", "5432"),
        found.get("dbname") or environment("PGDATABASE", user),
    )


def parameters(url: str) -> dict[str, str]:
    """Take a `postgresql://` or `postgresql+psycopg://` URL apart into the parameters of libpq.

    Raises ProfileError, which shows nothing of the URL: where it is malformed nobody can tell which part of
    it is the password.
    """
    if not _SCHEME.match(url):
        raise ProfileError(
            "The URL of the database does not begin with postgresql://",
            hint="Write it as postgresql://user:password@host:port/database.",
        )
    rest = _SCHEME.sub("", url)
    found = None if _is_torn(rest) else _parse(f"postgresql://{rest}")
    if isinstance(found, dict) and all(map(_is_port, found.get("port", "").split(","))):
        return found
    raise ProfileError(
        f"The URL of the database cannot be read: {found if isinstance(found, str) else 'it is malformed'}",
        hint="Check the port, and percent-encode user and password as urllib.parse.quote(it, safe='') does.",
    )


def _is_torn(rest: str) -> bool:
    """Tell whether libpq would take a piece of an unencoded password for host, port or database."""
    before, at, behind = rest.partition("@")
    return (bool(at) and ("/" in before or "@" in behind)) or re.search(r"\s", rest) is not None


def _parse(url: str) -> dict[str, str] | str | None:
    """Give the parameters, or what is wrong where that can be told without quoting the URL."""
    try:
        return {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except (psycopg.ProgrammingError, UnicodeError) as error:
        # Other words of libpq may quote a piece of the password.
        unknown = _UNKNOWN.match(str(error))
    return f"there is no parameter {unknown[1]}" if unknown else None


def _is_port(text: str) -> bool:
    return text == "" or (re.fullmatch("[0-9]{1,5}", text) is not None and int(text) <= 65535)


def _place(host: str, port: str, database: str) -> str:
    hosts, ports = host.split(","), port.split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    names = [f"[{name}]" if ":" in name else name for name in hosts]
    return ",".join(f"{name}:{number or 5432}" for name, number in zip(names, ports, strict=True)) + (f"/{database}")
