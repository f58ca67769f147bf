"""URLs of MariaDB and MySQL: read, and shown without their secrets."""

from typing import TYPE_CHECKING, Any, Final

from tasks.model.errors import ProfileError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SCHEMES: Final = ("mysql://", "mariadb://", "mysql+pymysql://", "mariadb+pymysql://")
_TLS: Final = ("ssl_ca", "ssl_cert", "ssl_key")
_VERIFY: Final = ("ssl_verify_cert", "ssl_verify_identity")
_HINT_TLS: Final = "Give ssl_ca=PATH; then certificate and host name are verified, unless ssl_verify_…=false."
_HINT: Final = "Write mysql://user:password@host:3306/database."


def parse(url: str) -> "URL":
    """Read a URL. Raises ProfileError, which never shows it."""
    read = _read(url)
    if read is None:
        raise ProfileError("the URL of the database cannot be read", hint=_HINT)
    unknown = set(read.query) - {*_TLS, *_VERIFY}
    if unknown:
        raise ProfileError(
            f"the URL has parameters that are not known: {', '.join(sorted(unknown))}",
            where=where(url),
            hint=f"Use {', '.join((*_TLS, *_VERIFY))}.",
        )
    if any(read.query.get(name, "true") not in ("true", "false") for name in _VERIFY):
        raise ProfileError("ssl_verify_… is neither true nor false", where=where(url), hint=_HINT_TLS)
    if "ssl_ca" not in read.query and any(read.query.get(name) == "true" for name in _VERIFY):
        raise ProfileError("nothing says whose certificates are trusted", where=where(url), hint=_HINT_TLS)
    if not read.host or not read.database:
        raise ProfileError("the URL names no host, or no database", where=where(url), hint=_HINT)
    return read


def options(url: str) -> dict[str, Any]:
    """Return what PyMySQL's `connect` takes, password included."""
    read = parse(url)
    tls: dict[str, Any] = {name: str(read.query[name]) for name in _TLS if name in read.query}
    if tls:
        certain = read.query.get("ssl_verify_cert", "true") == "true"
        # A certificate of the same authority for another host proves nothing.
        named = certain and read.query.get("ssl_verify_identity", "true") == "true"
        tls |= {"ssl_verify_cert": certain, "ssl_verify_identity": named}
    return {
        "host": read.host,
        "port": read.port or 3306,
        "user": read.username or "",
        "password": read.password or "",
        "database": read.database,
        **tls,
    }


def in_database(url: str, name: str) -> str:
    """Return the same URL with another database."""
    return parse(url).set(database=name).render_as_string(hide_password=False)


def where(url: str) -> str:
    """Return `database@host:port`, for people: no user, no password."""
    read = _read(url)
    return "the database" if read is None else f"{read.database}@{read.host}:{read.port or 3306}"


def _read(url: str) -> "URL | None":
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - whoever looks at PostgreSQL does without it
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None
