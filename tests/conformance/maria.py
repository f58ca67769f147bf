"""Drive a shadow table on MariaDB step by step: the engine, the ledger and the gates, without Prefect around them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from profiles.model import Database, Limits
from tasks.engines.journal import Journal
from tasks.engines.mysql.engine import MariaEngine
from tasks.engines.mysql.session import MariaSession
from tasks.engines.records import Key, Shard
from tasks.ledger import state
from tasks.ledger.cursors import advance, create_cursors, cursors
from tasks.ledger.fencing import fence, take_over
from tasks.ledger.install import install
from tasks.ledger.steps import begin_step, finish_step, keep_so_far, so_far, step_records
from tasks.ledger.transitions import transition
from tasks.model.catalogue_difference import compare
from tasks.model.plan import Plan
from tasks.model.spec import MigrationSpec
from tasks.model.status import GateResult, MigrationState, StepState
from tasks.model.steps import Copy, Phase, Step, only_for_rollback
from validations import gates

BEFORE_SWAP = (Phase.EXPAND, Phase.DUAL_WRITE, Phase.BACKFILL, Phase.INDEX, Phase.RECONCILE, Phase.CONSTRAIN)


class Shadow:
    """One migration of one table."""

    def __init__(
        self, url: str, operations: Sequence[Mapping[str, Any]], *, name: str = "m", batch_rows: int = 7,
        limits: Limits | None = None, run_id: str = "t", strategy: str = "shadow_table",
    ) -> None:  # fmt: skip
        self.spec = MigrationSpec.model_validate(
            {"migration": name, "strategy": strategy, "operations": list(operations)}
        )
        self.engine = MariaEngine(
            url=url,
            database=Database(url_env="UNUSED"),
            limits=limits or Limits(batch_rows=batch_rows, lock_patience=20.0),
            migration=name,
            run_id=run_id,
        )
        self.batch_rows = batch_rows
        self.epoch = 0
        self.plan: Plan | None = None

    def begin(self) -> Plan:
        """Plan, record, take over."""
        self.engine.check()
        self.plan = self.engine.plan(self.spec)
        with self.engine.connect("test") as conn:
            install(conn)
            state.create(conn, self.plan, "local", "ana")
            self.epoch = take_over(conn, self.spec.migration, "t", executor="ana")
            transition(conn, self.spec.migration, self.epoch, MigrationState.RUNNING)
        return self.plan

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Go on from the ledger, as a run after a kill does: hold the table, end what is left, take over."""
        name = self.spec.migration
        with self.engine.connect("test") as conn:
            install(conn)
            if not state.listing(conn):
                state.create(conn, self.engine.plan(self.spec), "local", "ana")
            self.plan = state.load(conn, name).plan
        with self.engine.keep((*self.plan.tables, f"migration {name}")):
            with self.engine.connect("test") as conn:
                self.epoch = take_over(conn, name, self.engine.run_id, executor="ana")
            yield

    def finish(self, *, contract: bool = False) -> None:
        """Do every step that is not done, up to and with the swap, or the contract."""
        assert self.plan is not None
        for step in self.plan.steps:
            with self.engine.connect("test") as conn:
                done = step_records(conn, self.spec.migration)[step.key].state is StepState.DONE
            if not done and (contract or step.phase is not Phase.CONTRACT):
                self.step(step)

    def forward(self, *phases: Phase, between: Callable[[int], int | None] = lambda _: None) -> None:
        """Carry out phases."""
        assert self.plan is not None
        for phase in phases:
            for step in self.plan.phase(phase):
                self.step(step, between=between)

    def step(self, step: Step, *, between: Callable[[int], int | None] = lambda _: None) -> None:
        """Carry out one step, unless a run would leave it out."""
        if only_for_rollback(step):
            return
        if isinstance(step.action, Copy):
            self._copy(step, step.action, between)
        else:
            self.engine.apply(step, self.journal(step, StepState.DONE))

    def swap(self) -> None:
        """Pass the gate and swap."""
        result = self.gate("before_swap")
        assert result.passed, result
        self.forward(Phase.SWAP)

    def back(self) -> None:
        """Undo every step that was begun, last first; the catalogue is as before."""
        assert self.plan is not None
        with self.engine.connect("test") as conn:
            records = step_records(conn, self.spec.migration)
        for step in reversed(self.plan.steps):
            if records[step.key].state in (StepState.DONE, StepState.RUNNING):
                self.revert(step)
        differences = compare(self.plan.catalogue, self.engine.inspect(self.plan.tables))
        assert not differences, differences

    def revert(self, step: Step) -> None:
        """Take one step back."""
        self.engine.revert(step, self.journal(step, StepState.UNDONE))

    def gate(self, name: str) -> GateResult:
        """Evaluate a gate with Great Expectations."""
        assert self.plan is not None
        gate = gates.before_swap(self.plan) if name == "before_swap" else gates.after_swap(self.plan)
        return gate.evaluate(self.engine.url, values_in_reports=True, search_path="")

    def violations(self, name: str) -> int:
        """Count what the requirements of a gate find, without Great Expectations, which takes its time."""
        assert self.plan is not None
        with self.engine.connect("test") as conn:
            return sum(self.engine.count(conn, r.violations) for r in self.plan.requirements if r.gate == name)

    def journal(self, step: Step, goal: StepState) -> Journal:
        """Return what records a step in the ledger."""
        name = self.spec.migration

        def begin(conn: Any) -> None:
            fence(conn, name, self.epoch)
            begin_step(conn, name, self.epoch, step.key)

        counts: dict[str, int] = {}
        return Journal(
            begin=begin,
            finish=lambda conn: finish_step(conn, name, self.epoch, step.key, goal, counts),
            counted=lambda rows: counts.update(rows=rows),
            fence=lambda conn: fence(conn, name, self.epoch),
            so_far=lambda conn: so_far(conn, name, step.key),
            keep=lambda conn, facts: keep_so_far(conn, name, self.epoch, step.key, facts),
        )

    def _copy(self, step: Step, action: Copy, between: Callable[[int], int | None]) -> None:
        name = self.spec.migration
        with self.engine.connect("test") as conn:
            ranges = [] if cursors(conn, name, step.key) else self.engine.shards(action, 1)
            with conn.transaction():
                fence(conn, name, self.epoch)
                begin_step(conn, name, self.epoch, step.key)
                made = create_cursors(conn, name, step.key, ranges)
            for cursor in made:
                assert cursor.high is not None

                def checkpoint(
                    done: int, own: MariaSession, position: Key, rows: int, size: int, before: int = cursor.batches
                ) -> None:
                    fence(own, name, self.epoch)
                    advance(own, name, step.key, 0, position, rows, size, batches=before + done)

                work = Shard(position=cursor.position or cursor.low, high=cursor.high, batch_rows=self.batch_rows)
                self.engine.fill(action, work, checkpoint, between)
            with conn.transaction():
                finish_step(conn, name, self.epoch, step.key, StepState.DONE)
