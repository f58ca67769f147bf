"""Which engine a table is on, and the expressions by which two engines are compared."""

from tasks.engines.mysql.address import SCHEMES
from tasks.model.errors import PreflightError
from validations.parity import common, exact
from validations.parity.mariadb import MariaSide
from validations.parity.pairing import Pairing
from validations.parity.postgresql import PostgresSide
from validations.parity.terms import BUCKETS, Terms

AnySide = PostgresSide | MariaSide


def side_of(url: str, database: str, table: str, search_path: str) -> AnySide:
    """Open a table on whichever engine the URL names."""
    if url.startswith(SCHEMES):
        return MariaSide(url, database, table)
    return PostgresSide(url, database, table, search_path)


def terms_of(a: AnySide, b: AnySide, pairing: Pairing, *, values_equal: bool) -> tuple[Terms, Terms]:
    """Return the expressions of both sides: PostgreSQL's own between its tables, otherwise what engines share."""
    shift = _shift(a, b, pairing)
    if isinstance(a, PostgresSide) and isinstance(b, PostgresSide):
        recode = a.encoding != b.encoding
        of_a, of_b = (exact.terms(pairing, s, shift=shift, values_equal=values_equal, recode=recode) for s in "ab")
        return of_a, of_b
    if values_equal:
        raise PreflightError(
            "--values-equal is only there between tables of PostgreSQL",
            where=f"{a.relation.place} and {b.relation.place}",
            hint="Leave it out: 1.0 and 1.00 are equal between engines as it is; say the rest with --map.",
        )
    if {a.encoding, b.encoding} != {"UTF8"}:
        raise PreflightError(
            "a database in another encoding than UTF8 cannot be compared with another engine",
            where=f"{a.relation.place} and {b.relation.place}",
            hint="Copy it into a database in UTF8 first.",
        )
    engines = (a.engine, b.engine)
    of_a, of_b = (common.terms(pairing, side, engines, shift=shift) for side in "ab")
    return of_a, of_b


def _shift(a: AnySide, b: AnySide, pairing: Pairing) -> int | None:
    """Return how many lower bits of the first column of the key one part covers; None when it is no whole number."""
    whole = exact.INTEGERS | {"tinyint", "smallint", "mediumint", "int", "bigint"}
    if not pairing.key or not {pairing.key[0].a.kind, pairing.key[0].b.kind} <= whole:
        return None
    first = pairing.key[0]
    extents = [found for found in (a.extent(first.a.name), b.extent(first.b.name)) if found is not None]
    low, high = min((one[0] for one in extents), default=0), max((one[1] for one in extents), default=0)
    # Beyond that, MariaDB's unsigned numbers begin.
    return ((high - low) // BUCKETS).bit_length() if high < 2**63 - 2**53 else None
