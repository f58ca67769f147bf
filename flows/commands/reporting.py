"""report: a migration and its checks over the runs, as a table, as JSON, or as a page."""

from pathlib import Path

from rich.table import Table
from rich.text import Text

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.terminal import facts, out, print_json
from tasks.reporting.account import Account, account

_MARKS = {"passed": ".", "WARNING": "w", "WAIVED": "W", "FAILED": "F", "NOT EVALUATED": "?"}


def report(name: str, profile: str, database: str, *, html: str | None, as_json: bool, verbose: bool) -> None:
    """Tell what the ledger knows."""
    with reported(as_json=as_json, verbose=verbose):
        with engine_for(profile, database).connect("report") as conn:
            told = account(conn, name)
        if html is not None:
            from tasks.reporting.page import page, write_file  # noqa: PLC0415 - only pages need the template engine

            write_file(Path(html), page(told))
        if as_json:
            print_json(told.model_dump(mode="json"))
        elif html is None:
            out().print(facts([("migration", name), ("state", told.migration.state.value), ("risk", told.risk)]))
            out().print()
            out().print(_checks(told))
        else:
            out().print(f"written to {html}")


def _checks(told: Account) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("gate", "check", "runs", "last"):
        table.add_column(title, overflow="fold")
    for trend in told.trends:
        marks = "".join(_MARKS[point.verdict] for point in trend.points)
        table.add_row(
            trend.gate, Text(trend.check), marks, f"{trend.points[-1].verdict} {trend.points[-1].seconds:.2f} s"
        )
    return table
