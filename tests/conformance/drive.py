"""Drive a migration step by step on a real server: the engine and the ledger, without Prefect around them."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import psycopg

from profiles.model import Database, Limits
from tasks.engines.journal import Journal
from tasks.engines.postgresql.engine import PostgresEngine
from tasks.engines.records import Key, Shard
from tasks.ledger import state
from tasks.ledger.fencing import fence, take_over
from tasks.ledger.steps import begin_step, finish_step, keep_so_far, so_far, step_records
from tasks.ledger.transitions import transition
from tasks.model.catalogue_difference import compare
from tasks.model.errors import LockTimeoutError
from tasks.model.plan import Finding, Plan
from tasks.model.spec import MigrationSpec
from tasks.model.status import MigrationState, StepState
from tasks.model.steps import Backfill, Copy, Phase, Step, only_for_rollback
from tests.conformance.sessions import KeepingEngine
from tests.legs import EVERY_LEG
from validations import gates
from validations.checks import Gate
from validations.outcome import evaluate_outcome
from validations.postgresql_source import PostgresSource
from validations.scans import scans

Connection = psycopg.Connection[Any]
Operations = Sequence[Mapping[str, Any]]
BEFORE_SWAP = (Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE, Phase.CONSTRAIN)


class Migration:
    """One migration of one database."""

    def __init__(
        self,
        url: str,
        operations: Operations,
        *,
        name: str = "m",
        batch_rows: int = 7,
        backfill: Mapping[str, Any] | None = None,
        search_path: str = "public",
        version_schema: str | None = None,
        strategy: str = "expand_contract",
        lock_patience: float = 120.0,
        keeps: bool = not EVERY_LEG,
    ) -> None:
        self.spec = MigrationSpec.model_validate(
            {
                "migration": name,
                "operations": list(operations),
                "backfill": dict(backfill or {}),
                "version_schema": version_schema,
                "strategy": strategy,
            }
        )
        self.engine: PostgresEngine = (KeepingEngine if keeps else PostgresEngine)(
            url=url,
            database=Database(url_env="UNUSED", search_path=search_path),
            limits=Limits(batch_rows=batch_rows, lock_patience=lock_patience, snapshot_age=20.0),
            migration=name,
            run_id="t",
        )
        if isinstance(self.engine, KeepingEngine):
            weakref.finalize(self, self.engine.close)
        self.plan: Plan | None = None
        self._conn: Connection | None = None
        self.epoch = 0
        self.batch_rows = batch_rows

    @property
    def ledger(self) -> Connection:
        """One session for all that is asked of the ledger: it goes with the migration, or with its database."""
        if self._conn is None or self._conn.closed:
            self._conn = self.engine.connect("test")
            weakref.finalize(self, self._conn.close)
        return self._conn

    @property
    def name(self) -> str:
        """The name of the migration."""
        return self.spec.migration

    def begin(self) -> None:
        """Plan, record, take over."""
        self.plan = self.engine.plan(self.spec)
        conn = self.ledger
        if any(known.id == self.name for known in state.listing(conn)):
            state.replace_plan(conn, self.plan, "test", "test")
        else:
            state.create(conn, self.plan, "test", "test")
        self.epoch = take_over(conn, self.name, "t", executor="test")
        self._move(MigrationState.RUNNING)

    def go_on(self) -> None:
        """Take over what another has begun, by the plan that it had."""
        self.epoch = take_over(self.ledger, self.name, "t", executor="test")
        self.plan = state.load(self.ledger, self.name).plan

    def run(self, *phases: Phase) -> None:
        """Carry out phases."""
        for phase in phases:
            for step in self._plan.phase(phase):
                self.forward(step)

    def before_swap(self) -> None:
        """Carry out everything before the swap; the gate stands where it stands in the flow."""
        self.run(*BEFORE_SWAP[:-1])
        self.pass_gate("before_swap")
        self.run(BEFORE_SWAP[-1])

    def swap(self) -> None:
        """Make the new shape the truth, and check it."""
        self.run(Phase.SWAP)
        self._move(MigrationState.SWAPPED)
        self.pass_gate("after_swap")

    def blocked_swap(self) -> bool:
        """Try to swap with next to no patience; tell whether a lock could not be had."""
        return self._blocked(partial(self.run, Phase.SWAP))

    def blocked_copy(self) -> bool:
        """Try to copy with next to no patience; tell whether a lock could not be had."""
        return self._blocked(partial(self.run, Phase.BACKFILL))

    def blocked_contract(self) -> bool:
        """Try to contract with next to no patience; tell whether a lock could not be had."""
        return self._blocked(partial(self.run, Phase.CONTRACT))

    def blocked_back(self) -> bool:
        """Try to roll back with next to no patience; tell whether a lock could not be had."""
        return self._blocked(self.roll_back_steps)

    def swap_with_a_cut(self, other: Connection) -> int:
        """Swap, and end the session of the swap under its locks the first time; return how often it was ended."""
        step = next(step for step in self._plan.steps if step.key == "swap/all")
        journal, cuts = self._journal(step, StepState.DONE), 0

        def finish(conn: Connection) -> None:
            nonlocal cuts
            journal.finish(conn)
            if not cuts:
                cuts += 1
                other.execute("select pg_terminate_backend(%s)", (conn.info.backend_pid,))

        self.engine.apply(step, replace(journal, finish=finish))
        return cuts

    def _blocked(self, act: Callable[[], None]) -> bool:
        patient = self.engine
        self.engine = replace(patient, limits=patient.limits.model_copy(update={"lock_patience": 0.3}))
        try:
            act()
        except LockTimeoutError:
            return True
        finally:
            self.engine = patient
        return False

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What the plan has to say, but for the linter, which has a word on every statement."""
        return tuple(finding for finding in self._plan.findings if not finding.rule.startswith("squawk"))

    @property
    def swapped(self) -> bool:
        """Whether the new shape is the truth."""
        return self._records()["swap/all"] is StepState.DONE

    def contract(self) -> None:
        """Destroy the old shape."""
        self.pass_gate("before_contract")
        self._move(MigrationState.COMPLETE)
        self._move(MigrationState.CONTRACTING)
        self.run(Phase.CONTRACT)
        self._move(MigrationState.CONTRACTED)

    def roll_back(self, *, sql: bool = False) -> None:
        """Undo what was begun, last first, and compare the catalogue with the one before."""
        assert self.before_rollback() == []
        self.roll_back_steps()
        if not sql:
            assert compare(self._plan.catalogue, self.engine.inspect(self._plan.tables)) == ()

    def before_rollback(self) -> list[str]:
        """Say what stands in the way: objects of others by their names, rows by the requirement that they break."""
        swapped, records = self.swapped, self._records()
        found = []
        for one in self._plan.requirements:
            if one.gate == "before_rollback" and (
                swapped or one.kind == "structure" or records.get(one.begun) is StepState.DONE
            ):
                broken = self.ledger.execute(one.violations.encode()).fetchall()
                found += [row[0] for row in broken] if one.kind == "structure" else [one.name] * bool(broken)
        return found

    def revert(self, key: str) -> None:
        """Take a single step back."""
        step = next(step for step in self._plan.steps if step.key == key)
        self.engine.revert(step, self._journal(step, StepState.UNDONE))

    def roll_back_steps(self) -> None:
        """Undo what was begun, last first."""
        self._move(MigrationState.ROLLING_BACK)
        records = self._records()
        swapped = records["swap/all"] is not StepState.PENDING
        for step in reversed(self._plan.steps):
            now = records[step.key]
            begun = now in (StepState.DONE, StepState.RUNNING)
            if begun or (swapped and only_for_rollback(step) and now is not StepState.UNDONE):
                self.back(step)
        self._move(MigrationState.ROLLED_BACK)

    def pass_gate(self, name: str) -> None:
        """Evaluate a gate by the statements that Great Expectations would send; fail unless it passes."""
        assert self.failures(name) == []

    def failures(self, name: str, *, sequences: bool = False) -> list[str]:
        """Return the checks of a gate that fail, and how many writes could not be carried.

        Writers of these tests give numbers of their own, and so overtake sequences: asked of `sequences` on demand.
        """
        built = {
            "before_swap": gates.before_swap,
            "after_swap": gates.after_swap,
            "before_contract": gates.before_contract,
        }
        gate: Gate = built[name](self._plan)
        session = PostgresSource(url=self.engine.url, migration=self.name, search_path=self._plan.search_path)
        failed: list[str] = []
        with session.connect() as conn:
            asked = [one for one in gate.checks if sequences or not one.name.startswith("the sequences of ")]
            for scan in scans(asked):
                cursor = conn.execute(scan.statement.encode())
                assert cursor.description is not None
                row = dict(zip([c.name for c in cursor.description], cursor.fetchone() or (), strict=True))
                empty = "compared" in row and not row["compared"] and row["populated"]
                failed += [f"{check.name}: {row[c]}" for c, check in scan.columns.items() if row[c] or empty]
        return failed + [one.message for one in evaluate_outcome(gate, session) if not one.passed]

    @property
    def _plan(self) -> Plan:
        assert self.plan is not None
        return self.plan

    def _records(self) -> dict[str, StepState]:
        return {key: record.state for key, record in step_records(self.ledger, self.name).items()}

    def _move(self, to: MigrationState) -> None:
        with self.ledger.transaction():
            transition(self.ledger, self.name, self.epoch, to)

    def back(self, step: Step) -> None:
        """Take one step back."""
        self.engine.revert(step, self._journal(step, StepState.UNDONE))

    def forward(self, step: Step) -> None:
        """Carry out one step, unless it is done or only for a rollback."""
        if only_for_rollback(step) or self._records()[step.key] is StepState.DONE:
            return
        if isinstance(step.action, Backfill | Copy):
            self._fill(step, step.action)
        else:
            self.engine.apply(step, self._journal(step, StepState.DONE))

    def _fill(self, step: Step, action: Backfill | Copy) -> None:
        def checkpoint(_done: int, conn: Connection, _position: Key, _rows: int, _size: int) -> None:
            fence(conn, self.name, self.epoch)

        for low, high in self.engine.shards(action, 2):
            if high is not None:
                shard = Shard(position=low, high=high, batch_rows=self.batch_rows)
                self.engine.fill(action, shard, checkpoint, lambda size: size)
        with self.ledger.transaction():
            finish_step(self.ledger, self.name, self.epoch, step.key, StepState.DONE)

    def _journal(self, step: Step, goal: StepState) -> Journal:
        def begin(conn: Connection) -> None:
            fence(conn, self.name, self.epoch)
            begin_step(conn, self.name, self.epoch, step.key)

        counts: dict[str, int] = {}

        def finish(conn: Connection) -> None:
            finish_step(conn, self.name, self.epoch, step.key, goal, counts)

        return Journal(
            begin=begin,
            finish=finish,
            counted=lambda rows: counts.update(rows=rows),
            so_far=lambda conn: so_far(conn, self.name, step.key),
            keep=lambda conn, facts: keep_so_far(conn, self.name, self.epoch, step.key, facts),
        )
