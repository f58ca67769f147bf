"""`make demo`: a live table changes shape twice while an application writes to it, and the application is asked."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from examples.demo.figures import Figures, verdicts
from examples.demo.screen import Screen
from examples.demo.show import as_json, show
from examples.demo.story import RENAME, SPLIT, SPLIT_BACK, Story
from examples.demo.surroundings import surroundings
from tasks.model.errors import ChangeoverError


def main(
    json: bool = False,
    rows: int = 200_000,
    rate: float = 200.0,
    before: float = 10.0,
    sabotage: Sequence[str] = (),
) -> int:
    """Run the demo; return 0 when every promise was kept, 1 when not, 130 when interrupted.

    `rate` counts statements a second on `orders`, `before` the seconds that the application runs alone first.
    Starts servers of its own and stops them, whatever happens; several demos may run at the same time.
    """
    if "prefect" in sys.modules:
        return _in_a_process_of_its_own(json=json, rows=rows, rate=rate, before=before, sabotage=sabotage)
    console = Console()
    screen = Screen(console, silent=json)
    figures = Figures(rows=rows, rate=rate)
    started = time.monotonic()
    try:
        with _signals_end_it():
            _tell(screen, figures, before, sabotage)
    except KeyboardInterrupt:
        console.print("\nInterrupted: everything is stopped and removed.")
        sys.stdout.flush()
        # The flow's threads still wait for servers that are gone; nothing of theirs is worth waiting for.
        os._exit(130)
    figures.seconds = time.monotonic() - started
    result = verdicts(figures)
    if json:
        sys.stdout.write(as_json(figures, result) + "\n")
    else:
        show(console, figures, result)
    return 0 if all(verdict.kept for verdict in result) else 1


def _tell(screen: Screen, figures: Figures, before: float, sabotage: Sequence[str]) -> None:
    """Tell the story, up to the end or to the first error; either way collect what there is to collect."""
    screen.scene("A database, an application that never stops, and Prefect")
    with surroundings() as (place, ready):
        story = Story(place, screen, figures)
        story.load()
        with story.sampler, story.application:
            try:
                story.before(before, ready)
                _acts(story, sabotage)
            except Exception as error:  # noqa: BLE001 - shown in the report, which then says that a promise is broken
                figures.error = str(error) if isinstance(error, ChangeoverError) else traceback.format_exc()
            story.finish()


def _acts(story: Story, sabotage: Sequence[str]) -> None:
    screen = story.screen
    screen.scene(f"Migrate under load: {SPLIT}")
    story.migrate(SPLIT, deploy=True)
    story.compare("after the swap")
    screen.scene("Contract: drop the old shape")
    story.contract(SPLIT)
    story.compare("after contract", SPLIT_BACK)
    screen.scene(f"Migrate again: {RENAME}")
    catalogue = story.catalogue()
    story.migrate(RENAME, deploy=False)
    screen.scene("Change of mind: roll it back")
    story.sabotage([name for name in sabotage if name == "catalogue"])
    story.roll_back(RENAME, catalogue)
    story.sabotage([name for name in sabotage if name != "catalogue"])
    story.compare("after rollback", SPLIT_BACK)


@contextmanager
def _signals_end_it() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the demo as Ctrl-C does."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _in_a_process_of_its_own(*, json: bool, rows: int, rate: float, before: float, sabotage: Sequence[str]) -> int:
    """Run the demo where Prefect, which reads its settings when it is imported, has not been imported yet."""
    options = [f"--rows={rows}", f"--rate={rate}", f"--before={before}", *(f"--sabotage={name}" for name in sabotage)]
    options += ["--json"] if json else []
    return subprocess.call([sys.executable, "-m", "examples.demo", *options])
