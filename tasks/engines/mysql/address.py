"""URLs of MariaDB and MySQL: read, and shown without their secrets."""

from typing import TYPE_CHECKING, Any, Final

from tasks.model.errors import ProfileError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

SCHEMES: Final = ("mysql://", "mariadb://", "mysql+pymysql://", "mariadb+pymysql://")
_TLS: Final = ("ssl_ca", "ssl_cert", "ssl_key")
_HINT: Final = "Write mysql://user:password@host:3306/database."


def parse(url: str) -> "URL":
    """Read a URL. Raises ProfileError, which never shows it."""
    read = _read(url)
    if read is None:
        raise ProfileError("the URL of the database cannot be read", hint=_HINT)
    unknown = set(read.query) - {*_TLS, "ssl_verify_cert"}
    if unknown:
        raise ProfileError(
            f"the URL has parameters that are not known: {', '.join(sorted(unknown))}",
            where=where(url),
            hint=f"Use {', '.join(_TLS)}, ssl_verify_cert.",
        )
    if not read.host or not read.database:
        raise ProfileError("the URL names no host, or no database", where=where(url), hint=_HINT)
    return read


def options(url: str) -> dict[str, Any]:
    """Return what PyMySQL's `connect` takes, password included."""
    read = parse(url)
    tls = {name: str(read.query[name]) for name in _TLS if name in read.query}
    if tls:
        tls["ssl_verify_cert"] = read.query.get("ssl_verify_cert", "true") != "false"  # type: ignore[assignment]
    return {
        "host": read.host,
        "port": read.port or 3306,
        "user": read.username or "",
        "password": read.password or "",
        "database": read.database,
        **tls,
    }


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
