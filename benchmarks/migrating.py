"""The process that migrates: run by the benchmarks, it prints what it measured as a line of JSON."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

_BEGUN = time.perf_counter()

from prefect import flow  # noqa: E402 - how long our imports take is one of the figures

from benchmarks.begun import begun  # noqa: E402
from benchmarks.server import Meter, Usage  # noqa: E402
from benchmarks.specs import URL  # noqa: E402
from benchmarks.statements import one_statement  # noqa: E402
from flows.expand_contract import expand_contract  # noqa: E402
from flows.shadow_table import shadow_table  # noqa: E402
from tasks.backfill import backfill  # noqa: E402
from tasks.constrain import constrain  # noqa: E402
from tasks.dual_write import dual_write  # noqa: E402
from tasks.engines.postgresql.backfill import update  # noqa: E402
from tasks.engines.postgresql.key_ranges import last_key  # noqa: E402
from tasks.engines.postgresql.planning.dual_write import OURS  # noqa: E402
from tasks.expand import expand  # noqa: E402
from tasks.index import index  # noqa: E402
from tasks.ledger.install import install  # noqa: E402
from tasks.migration import open_migration, read_spec  # noqa: E402
from tasks.model.plan import Plan  # noqa: E402
from tasks.model.steps import (  # noqa: E402
    Backfill,
    ConcurrentIndex,
    Phase,
    SelfCommitting,
    ShortTransaction,
    Validation,
    only_for_rollback,
)
from tasks.preflight import preflight  # noqa: E402
from tasks.reconcile import reconcile  # noqa: E402
from tasks.run import Run, new_run_id  # noqa: E402
from tasks.snapshot import snapshot  # noqa: E402
from tasks.swap import swap  # noqa: E402
from tasks.validate import validate  # noqa: E402
from validations import gates  # noqa: E402
from validations.checks import Gate  # noqa: E402
from validations.context import context  # noqa: E402
from validations.scans import scans  # noqa: E402

_IMPORTED = time.perf_counter() - _BEGUN


@flow(name="benchmark-backfill", persist_result=False)
def fill(spec: str, profile: str, postmaster: int, single: bool) -> dict[str, Any]:
    """Measure the backfill of a migration, with dual write on; or one UPDATE in its place, on the same table."""
    with open_migration(spec, profile) as m:
        preflight(m)
        expand(m)
        dual_write(m)
        with psycopg.connect(os.environ[URL], autocommit=True) as conn:
            conn.execute(OURS)
            meter = Meter.after_checkpoint(conn, postmaster)
            if single:
                one_statement(conn)
            else:
                backfill(m)
            return asdict(meter.taken())


@flow(name="benchmark-copy", persist_result=False)
def copy(spec: str, profile: str, postmaster: int) -> dict[str, Any]:
    """Measure the copy of a table into its shadow, with dual write on, and the indexes that are built after it."""
    with open_migration(spec, profile) as m:
        preflight(m)
        expand(m)
        dual_write(m)
        meter = Meter(postmaster)
        backfill(m)
        index(m)
        return asdict(meter.taken())


@flow(name="benchmark-proven", persist_result=False)
def proven(spec: str, profile: str, postmaster: int) -> dict[str, Any]:
    """Measure each part of making a table anew that reads all of it: the copy, and what proves it."""
    with open_migration(spec, profile) as m:
        preflight(m)
        return {name: asdict(_measured(does, postmaster)) for name, does in _parts(m)}


def _parts(m: Run) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "snapshot", lambda: snapshot(m)
    expand(m)
    dual_write(m)
    yield "copy", lambda: (backfill(m), index(m))
    yield "comparison", lambda: reconcile(m)
    yield "gate", lambda: validate(m, gates.before_swap(m.plan))
    constrain(m)
    swap(m)
    yield "gate after the swap", lambda: validate(m, gates.after_swap(m.plan))


def _measured(does: Callable[[], object], postmaster: int) -> Usage:
    meter = Meter(postmaster)
    does()
    return meter.taken()


def whole(spec: str, profile: str) -> dict[str, Any]:
    """Carry out a migration with its gates, and tell how much memory that took at most."""
    before = _memory()
    with context():
        imported = _memory()
    report = expand_contract(spec, profile)
    return {"state": report.state, "rows": report.rows, "bare": before, "imported": imported, "peak": _memory()}


def anew(spec: str, profile: str) -> dict[str, Any]:
    """Make a table anew, up to its swap, and tell how long that took, and when what began by the clock of the machine.

    Without what Python loads for it.
    """
    with context():
        began = time.monotonic()
    report = shadow_table(spec, profile)
    wall = time.monotonic() - began
    return {"state": report.state, "wall": wall, "parts": [("preparation", began), *begun(os.environ[URL])]}


def overhead(spec: str, profile: str, *pairs: str) -> dict[str, Any]:
    """Carry out a migration on every first database of the pairs, and its bare statements on every second one.

    The first pair is to get warm, and is not reported.
    """
    began = time.perf_counter()
    with context():
        imports = _IMPORTED + time.perf_counter() - began
    flows, statements = [], []
    for through_flow, by_hand in zip(pairs[::2], pairs[1::2], strict=True):
        os.environ[URL] = through_flow
        began = time.perf_counter()
        expand_contract(spec, profile)
        flows.append(time.perf_counter() - began)
        os.environ[URL] = by_hand
        statements.append(_bare(spec, profile, by_hand))
    return {"imports": imports, "first": flows[0], "flows": flows[1:], "statements": statements[1:]}


def _bare(spec: str, profile: str, url: str) -> float:
    """Return how long the statements of a plan take, up to the swap, with those of its gates."""
    with psycopg.connect(url, autocommit=True) as conn:
        install(conn, actor="benchmark")
        run = Run(migration="bare", profile=profile, database="main", run_id=new_run_id(), actor="benchmark")
        plan = run.engine.plan(read_spec(spec))
        began = time.perf_counter()
        for phase in Phase:
            if phase is Phase.SWAP:
                _read(conn, gates.before_swap(plan))
            if phase is not Phase.CONTRACT:
                _carry_out(conn, plan, phase)
        _read(conn, gates.after_swap(plan))
        return time.perf_counter() - began


def _carry_out(conn: psycopg.Connection[Any], plan: Plan, phase: Phase) -> None:
    for step in plan.phase(phase):
        if only_for_rollback(step):
            continue
        action = step.action
        if isinstance(action, Backfill):
            conn.execute(update(action, None, last_key(conn, action)).encode())
        elif isinstance(action, ConcurrentIndex):
            conn.execute(action.create.encode())
        elif isinstance(action, ShortTransaction | SelfCommitting | Validation):
            with conn.transaction():
                for statement in action.forward:
                    conn.execute(statement.encode())


def _read(conn: psycopg.Connection[Any], gate: Gate) -> None:
    for scan in scans(gate.checks):
        conn.execute(scan.statement.encode())


def _memory() -> float:
    """Return the most memory that this process has had so far, in MB."""
    # Not getrusage: its maximum begins with that of the process that started this one.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM:")) * 1.024


_WHAT: dict[str, Callable[..., dict[str, Any]]] = {
    "backfill": lambda spec, profile, pid: fill(spec, profile, int(pid), single=False),
    "single": lambda spec, profile, pid: fill(spec, profile, int(pid), single=True),
    "copy": lambda spec, profile, pid: copy(spec, profile, int(pid)),
    "proven": lambda spec, profile, pid: proven(spec, profile, int(pid)),
    "whole": whole,
    "shadow": anew,
    "overhead": overhead,
}

if __name__ == "__main__":
    found = _WHAT[sys.argv[1]](*sys.argv[2:])
    sys.stdout.write(json.dumps(found) + "\n")
