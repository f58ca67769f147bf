"""Compare two tables: digests of parts, rows of the parts that differ, and those rows until they stand still."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from validations.parity.both import Both
from validations.parity.pairing import Pairing, pair
from validations.parity.passes import candidates, digests
from validations.parity.report import Comparison, Difference, Kind, Verdict
from validations.parity.settle import Seen, Settling, settle
from validations.parity.side import Key
from validations.parity.sides import side_of, terms_of


@dataclass(frozen=True, kw_only=True)
class Table:
    """Where a table is."""

    url: str = field(repr=False)
    database: str
    """What the profile calls the database."""
    name: str
    """`table` or `schema.table`, as the catalogue holds it."""
    search_path: str = "public"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How two tables are compared."""

    mapped: Mapping[str, str] = field(default_factory=dict)
    """SQL over A for a column of B, where it is not the column of the same name."""
    ignored: Sequence[str] = ()
    """Columns that are left out on whichever side has them."""
    values_equal: bool = False
    """Compare as the database does (1.0 = 1.00, -0 = 0, '1 mon' = '30 days'), and not exactly."""
    lag: float | None = None
    """Seconds that B may be behind A; None: 0 within one database, 1 between two."""
    patience: float = 30.0
    """Seconds that a row may go on changing before it is given up as unsettled."""
    limit: int = 1_000
    """How many differing rows are named before the comparison ends."""
    values_in_reports: bool = False


def compare(table_a: Table, table_b: Table, options: Options | None = None) -> Comparison:
    """Compare two tables while applications write to them. Reads only. Locks: ACCESS SHARE.

    Memory does not grow with the tables. Raises PreflightError when a table, a column or a row cannot be read:
    what was not compared is never called equal.
    """
    asked = options or Options()
    with opened(table_a, table_b, asked) as found:
        return found.run()


class Opened:
    """Two tables, open, with all that is needed to compare them."""

    def __init__(self, both: Both, pairing: Pairing, options: Options) -> None:
        self.both = both
        self.pairing = pairing
        self._options = options
        self._names = tuple(one.name for one in pairing.values)
        self._rechecked = 0

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *raised: object) -> None:
        self.both.a.__exit__()
        self.both.b.__exit__()

    def run(self) -> Comparison:
        """Compare once."""
        started = time.monotonic()
        both, limit = self.both, self._options.limit
        self._rechecked = 0
        position_a, position_b = both.a.position(), both.b.position()
        found: list[Difference] = []
        unsettled: list[Difference] = []
        complete = True
        with both.passing():
            first = digests(both.a, both.b, both.terms_a, both.terms_b)
            with closing(candidates(both.a, both.b, both.terms_a, both.terms_b, first.buckets)) as keys:
                for one in self._settled(keys):
                    if len(found) + len(unsettled) >= limit:
                        complete = False
                        break
                    (unsettled if one.kind is Kind.UNSETTLED else found).append(one)
        return Comparison(
            a=both.a.relation.place,
            b=both.b.relation.place,
            verdict=_verdict(found, unsettled),
            key=tuple(one.name for one in self.pairing.key),
            columns=tuple(one.name for one in self.pairing.all),
            rows_a=first.rows_a,
            rows_b=first.rows_b,
            position_a=position_a,
            position_b=position_b,
            differences=tuple(found),
            unsettled=tuple(unsettled),
            complete=complete,
            rechecked=self._rechecked,
            notes=self.pairing.notes,
            seconds=round(time.monotonic() - started, 3),
        )

    def _settled(self, keys: Iterator[Key]) -> Iterator[Difference]:
        lag = self._options.lag
        if lag is None:
            lag = 1.0 if self.both.together is None else 0.0
        how = Settling(lag=lag, patience=self._options.patience, name=self._named)
        names = self._names if self.pairing.key else ("rows",)
        return settle(keys, names, self.both.observe, how, self._count)

    def _count(self, rows: int) -> None:
        self._rechecked += rows

    def _named(self, key: Key, seen: Seen, columns: tuple[str, ...]) -> Difference:
        kind = Kind.EXTRA if seen.a is None else Kind.MISSING if seen.b is None else Kind.CHANGED
        if not self.pairing.key:
            of_a, of_b = (int(row.values[0] or 0) if row is not None else 0 for row in (seen.a, seen.b))
            return Difference(kind=kind, key=key, rows_a=of_a, rows_b=of_b)
        if seen.a is None or seen.b is None:
            return Difference(kind=kind, key=key)
        shown = [self._names.index(name) for name in columns] if self._options.values_in_reports else []
        values_a, values_b = seen.a.values, seen.b.values
        return Difference(
            kind=kind,
            key=key,
            columns=columns,
            a=tuple(values_a[index] for index in shown),
            b=tuple(values_b[index] for index in shown),
        )


def opened(table_a: Table, table_b: Table, options: Options) -> Opened:
    """Open two tables for comparing; raises PreflightError when one cannot be read, or they do not fit."""
    with ExitStack() as opening:
        a = side_of(table_a.url, table_a.database, table_a.name, table_a.search_path)
        opening.push(a)
        b = side_of(table_b.url, table_b.database, table_b.name, table_b.search_path)
        opening.push(b)
        mapped = {
            name: a.relation.column(sql.strip().strip('"`')) or a.expression(name, sql)
            for name, sql in options.mapped.items()
        }
        pairing = pair(a.relation, b.relation, mapped=mapped, ignored=options.ignored)
        of_a, of_b = terms_of(a, b, pairing, values_equal=options.values_equal)
        opening.pop_all()
        return Opened(Both(a=a, b=b, terms_a=of_a, terms_b=of_b), pairing, options)


def _verdict(found: Sequence[Difference], unsettled: Sequence[Difference]) -> Verdict:
    if found:
        return Verdict.DIFFERENT
    return Verdict.UNDECIDED if unsettled else Verdict.EQUAL
