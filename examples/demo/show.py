"""The report of the demo: tables for people, JSON for machines."""

import json
from dataclasses import asdict
from math import isnan
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.demo.figures import Figures, Verdict


def as_json(figures: Figures, verdicts: tuple[Verdict, ...]) -> str:
    """Return the figures and verdicts as one JSON document; what was not measured is null."""
    content = asdict(figures) | {
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "kept": all(verdict.kept for verdict in verdicts),
    }
    return json.dumps(_without_nan(content), indent=2, default=str, allow_nan=False)


def show(console: Console, figures: Figures, verdicts: tuple[Verdict, ...]) -> None:
    """Print the report."""
    console.print(
        "\n[bold]What the application felt[/bold]  [dim]every statement timed; orders/s: statements on orders[/dim]",
        highlight=False,
    )
    console.print(_felt(figures))
    if figures.longest_wait:
        wait = figures.longest_wait
        by = " and ".join(_purpose(name) for name in wait.blocked_by)
        console.print(Text(f"   longest lock wait: {wait.ms:.0f} ms for {wait.waited_for}, held by {by}", style="dim"))
    console.print("\n[bold]What Changeover did[/bold]")
    console.print(_did(figures))
    console.print("\n[bold]What was promised[/bold]")
    console.print(_promised(verdicts))
    broken = sum(not verdict.kept for verdict in verdicts)
    if broken:
        console.print(f"\n[bold red]{broken} of {len(verdicts)} promises broken[/bold red], {figures.seconds:.0f} s")
    else:
        console.print(f"\n[bold green]All {len(verdicts)} promises kept[/bold green], {figures.seconds:.0f} s")


def _felt(figures: Figures) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("   period", no_wrap=True)
    for title in ("seconds", "statements", "orders/s", "p50 ms", "p99 ms", "max ms"):
        table.add_column(title, justify="right")
    for period in figures.periods:
        latency = period.latency
        table.add_row(
            f"   {period.name}",
            f"{period.seconds:.1f}",
            f"{latency.count:,}",
            f"{period.rate:.0f}",
            f"{latency.p50_ms:.1f}",
            f"{latency.p99_ms:.1f}",
            f"{latency.max_ms:.0f}",
        )
    return table


def _did(figures: Figures) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    rate = figures.rows_migrated / figures.backfill_seconds if figures.backfill_seconds else 0.0
    table.add_row(
        "   rows migrated", f"{figures.rows_migrated:,} in {figures.backfill_seconds:.1f} s, {rate:,.0f} a second"
    )
    for gate in figures.gates:
        result = "passed" if gate.passed else "FAILED: " + ", ".join(gate.failed)
        table.add_row(f"   gate {gate.name}", f"{result}, {len(gate.checks)} checks, {gate.migration}")
    for comparison in figures.comparisons:
        found = comparison.differences
        table.add_row(
            f"   compared {comparison.when}",
            f"{found.rows:,} rows: {found.missing} missing, {found.extra} extra, {found.changed} changed",
        )
    for name, state in figures.states.items():
        table.add_row(f"   {name}", state)
    return table


def _promised(verdicts: tuple[Verdict, ...]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for verdict in verdicts:
        sign = Text("   ✓", style="green") if verdict.kept else Text("   ✗", style="bold red")
        table.add_row(sign, Text(verdict.promise), Text(verdict.figure, style="dim" if verdict.kept else "red"))
    return table


def _purpose(application_name: str) -> str:
    """Shorten `changeover <tag> <run> <purpose>` to its purpose."""
    words = application_name.split(maxsplit=3)
    return words[3] if words[:1] == ["changeover"] and len(words) == 4 else application_name


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value
