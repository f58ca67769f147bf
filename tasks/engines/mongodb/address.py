"""URLs of MongoDB: shown without their secrets."""

from typing import Final

SCHEMES: Final = ("mongodb://", "mongodb+srv://")


def where(url: str) -> str:
    """Return `database@hosts`, for people: no user, no password, no options."""
    _, _, rest = url.partition("://")
    # A password that is not encoded may hold any of the separators: what stands before the last @ is never shown.
    hosts, _, database = rest.rpartition("@")[2].partition("/")
    return f"{database.partition('?')[0] or 'the database'}@{hosts.partition('?')[0]}"
