"""Walks of a migration that is killed: in a phase or at random, run again, and undone or contracted under writers."""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from tasks.engines.postgresql.inspect import inspect
from tests.conformance.crowd import Crowd
from tests.faults.runs import Runs
from tests.faults.shop import LIMITS, Shop, write_profile, write_spec
from tests.legs import SEED
from tests.servers.postgres import PostgresServer, fresh_database


@dataclass(frozen=True, kw_only=True)
class Walked(Shop, ABC):
    """A database of some tables, with writers that know the old shape or the new one."""

    seconds: Mapping[str, float]
    """About as long as a flow takes; on a busy machine the kills are in its first part."""

    @classmethod
    @contextmanager
    def opened(
        cls,
        schema: str,
        operations: list[dict[str, object]],
        tables: list[str],
        *,
        postgres: PostgresServer,
        runs: Runs,
        folder: Path,
        seconds: Mapping[str, float],
        limits: Mapping[str, object] = LIMITS,
    ) -> Iterator[Self]:
        """Make the database; it goes with the context."""
        with fresh_database(postgres) as url:
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute(schema.encode())
                before = inspect(conn, tables, "public")
            yield cls(
                url=url,
                runs=runs,
                folder=folder,
                spec=write_spec(folder / "spec.json", operations),
                profile=write_profile(folder / "faults.toml", limits=limits),
                before=before,
                seconds=seconds,
            )

    @abstractmethod
    def writers(self, *, new: bool = False) -> AbstractContextManager[Crowd]:
        """Write for as long as the context lasts."""

    def again(self, command: str = "run") -> None:
        """Run again, to the end."""
        self.complete(command)

    def walk(self, kill: str | int) -> None:
        """Kill it in a phase; or when a number says to the dice, which say how it ends, too."""
        self._in_a_phase(kill) if isinstance(kill, str) else self._at_random(kill)

    def _in_a_phase(self, phase: str) -> None:
        with self.writers():
            run = self.start()
            self.await_phase(run, phase)
            assert run.kill()
            self.again()
        self.assert_complete()
        with self.writers():
            run = self.start("rollback")
            while not run.ended and "undone" not in self.steps().values():
                time.sleep(0.02)
            run.kill()
            if self.state() != "rolled back":
                self.again("rollback")
        self.assert_rolled_back()

    def _at_random(self, number: int) -> None:
        dice = random.Random(SEED * 100_003 + number)
        ending = ("contract", "rollback", "rollback half way")[number % 3]
        with self.writers():
            self._kill("run", dice.uniform(0.2, 1.0))
            if ending != "rollback half way" and self.state() != "complete":
                self.again()
        if not self.state():
            return
        if ending != "rollback half way":
            self.assert_complete()
        with self.writers(new=ending == "contract"):
            command = ending.split()[0]
            self._kill(command, dice.uniform(0.1, 1.0))
            if self.state() not in ("rolled back", "contracted"):
                self.again(command)
        self.assert_contracted() if ending == "contract" else self.assert_rolled_back()

    def _kill(self, command: str, part: float) -> None:
        """Start a flow, and kill it when about a part of it is over."""
        run = self.start(command)
        time.sleep(part * self.seconds[command])
        run.kill()
