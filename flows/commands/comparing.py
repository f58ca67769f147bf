"""diff: hold two tables against each other."""

import sys
from collections.abc import Sequence
from functools import partial

import typer
from rich.table import Table as Rows

from flows.commands.outcome import reported
from flows.commands.running import UnconfirmedError
from flows.terminal import err, facts, out, print_json
from profiles.loader import load as load_profile
from profiles.loader import resolve_url
from profiles.model import Profile
from tasks.engines.mysql.address import SCHEMES, parse
from tasks.engines.postgresql.address import parameters
from tasks.engines.session import Session
from tasks.ledger import audit
from tasks.ledger.install import is_installed
from tasks.model.errors import PreflightError, Refused
from tasks.run import actor
from validations.parity.compare import Options, Table, compare
from validations.parity.repair import Repaired, repair
from validations.parity.report import Comparison, Difference, Kind, Verdict

_MANY = 20


def diff(
    a: str,
    b: str,
    profile: str,
    *,
    mapped: Sequence[str],
    ignored: Sequence[str],
    values_equal: bool,
    lag: float | None,
    patience: float,
    limit: int,
    mend: bool,
    yes: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Compare two tables, and on demand make B like A and compare again; exit with 1 unless they are equal."""
    with reported(as_json=as_json, verbose=verbose):
        settings = load_profile(profile)
        options = Options(
            mapped=dict(map(mapping, mapped)),
            ignored=ignored,
            values_equal=values_equal,
            lag=lag,
            patience=patience,
            limit=limit,
            values_in_reports=settings.values_in_reports,
        )
        of_a, of_b = table_of(settings, a), table_of(settings, b)
        found = compare(of_a, of_b, options)
        done: Repaired | None = None
        if mend and found.differences:
            if not as_json:
                _show(found)
            _ask(found, of_b, yes=yes, as_json=as_json)
            done = repair(of_a, of_b, options, found, settings.limits, partial(_record, found))
            found = compare(of_a, of_b, options)
        if as_json:
            print_json(found.model_dump(mode="json") | ({"repaired": done.model_dump()} if done is not None else {}))
        else:
            if done is not None:
                out().print(f"\n{_written(done)}\n", style="bold")
            _show(found)
        if found.verdict is not Verdict.EQUAL:
            raise typer.Exit(1)


def _ask(found: Comparison, table: Table, *, yes: bool, as_json: bool) -> None:
    """Have the name of B's database typed before anything is written to it."""
    if yes:
        return
    name = parse(table.url).database if table.url.startswith(SCHEMES) else parameters(table.url).get("dbname", "")
    if as_json or not sys.stdin.isatty():
        raise UnconfirmedError(
            "nobody is there to say that B shall be changed", where=found.b, hint="Run it in a terminal, or add --yes."
        )
    err().print(f"Type {name} to change {len(found.differences):,} rows of {found.b}: ", end="")
    if input().strip() != name:
        raise UnconfirmedError("that is not the name of the database", where=found.b, hint="Nothing was changed.")


def _record(found: Comparison, conn: Session, done: Repaired) -> None:
    """Record a batch, in its transaction, where the database of B has a ledger."""
    if done.updated + done.inserted + done.deleted and is_installed(conn):
        audit.append(conn, actor(), "repair", found.b, "done", detail={"from": found.a, **done.model_dump()})


def _written(done: Repaired) -> str:
    said = f"{done.updated:,} rows of B updated, {done.inserted:,} inserted, {done.deleted:,} deleted"
    return f"{said}; {done.unchanged:,} were no longer different" if done.unchanged else said


def table_of(profile: Profile, name: str) -> Table:
    """Return the table that `database.table` or `database.schema.table` names; raises Refused for anything else."""
    # The longest name of a database that fits: a name may have a dot in it.
    for database in sorted(profile.databases, key=len, reverse=True):
        if name.startswith(f"{database}.") and (rest := name.removeprefix(f"{database}.")):
            path = profile.databases[database].search_path
            url = resolve_url(profile, database).get_secret_value()
            return Table(url=url, database=database, name=rest, search_path=path)
    raise Refused(
        f"{name} does not begin with a database of the profile",
        where=f"profile {profile.name}",
        hint=f"Write database.table with one of: {', '.join(sorted(profile.databases))}.",
    )


def mapping(text: str) -> tuple[str, str]:
    """Read COLUMN=EXPRESSION; raises PreflightError for anything else."""
    name, equals, sql = text.partition("=")
    if not equals or not name.strip() or not sql.strip():
        raise PreflightError(
            "--map wants COLUMN=EXPRESSION", where="the command line", hint="--map 'name=first || last' for example."
        )
    return name.strip(), sql


def _show(found: Comparison) -> None:
    listed = [*found.differences, *found.unsettled]
    out().print(
        facts(
            [
                ("A", f"{found.a}: {found.rows_a:,} rows"),
                ("B", f"{found.b}: {found.rows_b:,} rows"),
                ("paired by", ", ".join(found.key) or "nothing: rows were counted"),
                (
                    "compared",
                    f"{len(found.columns)} columns in {found.seconds:g} s; {found.rechecked:,} rows twice",
                ),
                ("holds up to", f"{found.position_a.log} of A, {found.position_b.log} of B"),
                *(("note", note) for note in found.notes),
            ]
        )
    )
    if listed:
        out().print()
        out().print(_rows(listed, keyed=bool(found.key), key=found.key))
    out().print()
    out().print(_sentence(found), style="bold")


def _rows(listed: Sequence[Difference], *, keyed: bool, key: Sequence[str]) -> Rows:
    table = Rows(box=None, pad_edge=False, header_style="dim")
    shows_values = any(one.a or one.b for one in listed)
    titles = ["row", *(key or ("digest",)), "columns" if keyed else "rows in A and B"]
    for title in [*titles, *(["A", "B"] if shows_values else [])]:
        table.add_column(title, overflow="fold")
    for one in listed[:_MANY]:
        what = ", ".join(one.columns) if keyed else f"{one.rows_a} and {one.rows_b}"
        values = [_values(one.a), _values(one.b)] if shows_values else []
        table.add_row(_KINDS[one.kind], *one.key, what, *values)
    if len(listed) > _MANY:
        table.add_row(f"... and {len(listed) - _MANY:,} more; --json lists them")
    return table


_KINDS = {
    Kind.MISSING: "only in A",
    Kind.EXTRA: "only in B",
    Kind.CHANGED: "differs",
    Kind.UNSETTLED: "unsettled",
}


def _values(values: Sequence[str | None]) -> str:
    return ", ".join("null" if value is None else repr(value) for value in values)


def _sentence(found: Comparison) -> str:
    if found.verdict is Verdict.EQUAL:
        return "equal"
    more = "" if found.complete else " at least; there may be more"
    said = f"{found.verdict}: {len(found.differences):,} rows differ{more}"
    if found.unsettled:
        said += f"; {len(found.unsettled):,} were written too fast to be compared"
    return said
