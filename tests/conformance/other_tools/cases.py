"""What the tests of other tools say of an operation, as data: rows that go in and come out through each version.

In every text `$t` stands for a name that no other case has, so that many make one migration.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from ruamel.yaml import YAML

from tasks.model.errors import ChangeoverError
from tasks.model.source import PGROLL, parse
from tests.conformance.drive import Connection, Migration
from tests.conformance.test_versions import Client, baseline

FOLDER = Path(__file__).parent / "cases"
Seen = tuple[str, list[list[Any]]]
ERRORS: Mapping[str, type[psycopg.Error]] = {
    "check": psycopg.errors.CheckViolation,
    "exclusion": psycopg.errors.ExclusionViolation,
    "foreign key": psycopg.errors.ForeignKeyViolation,
    "no column": psycopg.errors.UndefinedColumn,
    "no table": psycopg.errors.UndefinedTable,
    "not null": psycopg.errors.NotNullViolation,
    "out of range": psycopg.errors.NumericValueOutOfRange,
    "unique": psycopg.errors.UniqueViolation,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One of them."""

    name: str
    of: str
    """The tool, and the test of it that says so."""
    schema: str
    operations: list[dict[str, Any]]
    """As they stand in a file of pgroll, or in a spec of ours for what pgroll does not have."""
    before: Sequence[Sequence[str]] = ()
    """What is written before the swap."""
    writes: Sequence[Sequence[str]] = ()
    """What is written after it: version, statement and, where it is refused, with which error."""
    old: Seen | None = None
    new: Seen | None = None
    """What the versions see after that."""
    after: Sequence[Sequence[str]] = ()
    """Statements when the old shape is gone."""
    end: Seen | None = None
    """What is in the table then."""
    has: str | None = None
    """A question that the catalogue says yes to."""
    back: bool = True
    """Whether it can be rolled back after the writes."""
    refused: str | None = None
    """What the plan says against it."""
    gate: str | None = None
    """The gate that does not let it pass."""
    differs: str | None = None
    """Where the tool does something else: what we do, and the page on pgroll says."""

    @property
    def walked(self) -> bool:
        """Whether it goes all the way."""
        return self.refused is None and self.gate is None

    def wanted(self) -> list[dict[str, Any]]:
        """Return the operations of a spec. Raises SpecError."""
        origin = f"{PGROLL}case.json" if self.of.startswith("pgroll") else "case.json"
        header = {} if origin.startswith(PGROLL) else {"migration": "case"}
        spec = parse(json.dumps({**header, "operations": self.operations}), origin)
        operations: list[dict[str, Any]] = spec.model_dump(mode="json", exclude_unset=True)["operations"]
        return operations


def read() -> list[Case]:
    """Return all cases."""
    made: list[Case] = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for name, body in YAML(typ="safe").load(path).items():
            text = json.dumps(body).replace("$t", f"t{len(made)}")
            made.append(Case(name=name, **json.loads(text)))
    return made


def refusal(act: Callable[[], object]) -> str:
    """Return what was said against something; nothing if nothing was."""
    try:
        act()
    except ChangeoverError as error:
        return str(error)
    return ""


def plan(case: Case, url: str) -> None:
    """Draw up the plan of one case beside a version."""
    migration = Migration(url, case.wanted(), name="m", version_schema="v2")
    migration.engine.plan(migration.spec)


def stopped(case: Case, conn: Connection, url: str) -> list[str]:
    """Go as far as a gate, say what it has against it, and go back."""
    conn.execute(case.schema.encode())
    baseline(url)
    migration = Migration(url, case.wanted(), version_schema="v2")
    migration.begin()
    said: list[str] = []
    with suppress(AssertionError):
        migration.before_swap()
    said = migration.failures(str(case.gate))
    migration.roll_back()
    return said


def walk(
    cases: Sequence[Case],
    conn: Connection,
    url: str,
) -> None:
    """Over, with what both versions write, back, over again, and to the end."""
    for case in cases:
        conn.execute(case.schema.encode())
    baseline(url)
    operations = [operation for case in cases for operation in case.wanted()]
    with Client.of(url, "v1") as old, Client.of(url, "v2") as new:
        migration = Migration(url, operations, version_schema="v2")
        migration.begin()
        migration.before_swap()
        for case in cases:
            _write(case, case.before, old, new)
        migration.swap()
        for case in cases:
            _write(case, case.writes, old, new)
            _look(case, old, case.old)
            _look(case, new, case.new)
        if all(case.back for case in cases):
            migration.roll_back(sql=any("sql" in operation for operation in operations))
            for case in cases:
                _look(case, old, case.old)
            migration = Migration(url, operations, version_schema="v2")
            migration.begin()
            migration.before_swap()
            migration.swap()
        migration.contract()
        for case in cases:
            _write(case, case.after, old, new)
            _look(case, new, case.end)
            assert case.has is None or conn.execute(case.has.encode()).fetchall() == [(True,)], case.name


def _write(case: Case, statements: Sequence[Sequence[str]], old: Client, new: Client) -> None:
    for version, statement, *refused in statements:
        client = old if version == "old" else new
        said: type[psycopg.Error] | None = None
        try:
            client.conn.execute(statement.encode())
        except psycopg.Error as error:
            said = type(error)
        assert said is (ERRORS[refused[0]] if refused else None), (case.name, version, statement, said)


def _look(case: Case, client: Client, seen: Seen | None) -> None:
    if seen is not None:
        query, rows = seen
        found = [list(row) for row in client.rows(query)]
        assert found == rows, (case.name, query, found)
