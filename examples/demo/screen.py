"""What the demo shows while it runs: live where there is a terminal, plain lines where there is none."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from examples.demo.watch import Line, Mark

_MARKS: dict[Mark, tuple[str, str]] = {
    "waiting": ("·", "dim"),
    "running": ("▸", "cyan"),
    "done": ("✓", "green"),
    "undone": ("↶", "yellow"),
}
_EVERY = 2.0
"""Seconds between two plain lines about the same phase."""


class Screen:
    """Where the demo writes."""

    def __init__(self, console: Console, *, silent: bool = False) -> None:
        self.console = console
        self.silent = silent
        self._scene = 0

    def say(self, text: str) -> None:
        """Write a line."""
        if not self.silent:
            self.console.print(f"   {text}", highlight=False)

    def scene(self, title: str) -> None:
        """Begin a new scene."""
        self._scene += 1
        if not self.silent:
            self.console.print(f"\n[bold]{self._scene}  {title}[/bold]", highlight=False)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show what is waited for, where there is a terminal."""
        if self.silent or not self.console.is_terminal:
            yield
            return
        with self.console.status(f"[dim]{text}[/dim]"):
            yield

    def board(self) -> "Board":
        """Return what shows the phases of a migration."""
        return Board(self)


class Board:
    """The phases of one flow, kept up to date for as long as the context lasts."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._spinner = Spinner("dots", style="cyan")
        self._plain: dict[str, tuple[Mark, float]] = {}
        self._live: Live | None = None
        if screen.console.is_terminal and not screen.silent:
            self._live = Live(console=screen.console, refresh_per_second=10)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, lines: Sequence[Line], footer: str) -> None:
        """Show where the phases stand."""
        if self._screen.silent:
            return
        if self._live is None:
            self._write(lines)
            return
        self._live.update(Group(self._table(lines), Text(f"   {footer}", style="dim")))

    def _table(self, lines: Sequence[Line]) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=4, justify="right")
        table.add_column(width=21)
        table.add_column(width=8, justify="right", style="dim")
        table.add_column(no_wrap=True)
        for line in lines:
            sign, style = _MARKS[line.mark]
            detail: Text | Table = Text(line.detail, style="" if line.mark != "waiting" else "dim")
            if line.fraction is not None:
                bar = ProgressBar(total=1.0, completed=line.fraction, width=16)
                detail = Table.grid(padding=(0, 1))
                detail.add_row(bar, line.detail)
            table.add_row(
                self._spinner if line.mark == "running" else Text(sign, style=style),
                Text(line.name, style="dim" if line.mark == "waiting" else ""),
                _duration(line.seconds),
                detail,
            )
        return table

    def _write(self, lines: Sequence[Line]) -> None:
        for line in lines:
            before, at = self._plain.get(line.name, ("waiting", 0.0))
            news = line.mark != before and line.mark != "running"
            going_on = line.fraction is not None and time.monotonic() - at >= _EVERY
            if news or going_on:
                self._plain[line.name] = (line.mark, time.monotonic())
                seconds = _duration(line.seconds)
                sign = _MARKS[line.mark][0]
                self._screen.say(f"{sign} {line.name:21} {seconds:>8}  {line.detail}".rstrip())


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
