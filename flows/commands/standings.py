"""status: one migration in one block, or all of them in a table."""

from typing import Any

from rich.table import Table

from flows.commands.outcome import reported
from flows.commands.subject import engine_for
from flows.explain import span
from flows.standing import Standing, age, read
from flows.terminal import facts, out, print_json
from flows.watch import line
from profiles.loader import load as load_profile
from tasks.ledger.gates import GateRecord
from tasks.ledger.state import MigrationSummary, listing
from tasks.model.status import UNDER_WAY


def status(name: str | None, profile: str, database: str, *, as_json: bool, verbose: bool) -> None:
    """Show where one migration stands, or all."""
    with reported(as_json=as_json, verbose=verbose):
        needed = load_profile(profile).approvals
        engine = engine_for(profile, database)
        with engine.connect("status") as conn:
            one = read(conn, engine, name) if name is not None else None
            every = listing(conn) if one is None else ()
        if one is None:
            _all(every, as_json=as_json)
        elif as_json:
            print_json(_data(one, needed))
        else:
            out().print(facts(_block(one, needed)))


def _all(migrations: tuple[MigrationSummary, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"migrations": [one.model_dump(mode="json") for one in migrations]})
        return
    if not migrations:
        out().print("no migrations yet: changeover plan SPEC shows what one would do")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("migration", "state", "by", "updated", "message"):
        table.add_column(title, overflow="fold")
    for one in migrations:
        table.add_row(one.id, one.state.value, one.executor or one.author, f"{one.updated_at:%F %T} UTC", one.message)
    out().print(table)


def _block(now: Standing, needed: int) -> list[tuple[str, str]]:
    record = now.record
    done, steps = now.done
    orphaned = record.state in UNDER_WAY and not now.alive
    return [
        ("migration", record.id),
        ("state", record.state.value + (" (no run is alive)" if orphaned else "")),
        ("phase", now.phase),
        ("steps", f"{done} of {steps} done"),
        *(("backfill", line(one)) for one in now.progress),
        ("checkpoint", f"{span(age(now.checkpoint))} ago" if now.checkpoint else ""),
        ("pause", "asked for" if now.pause else ""),
        ("hold", f"the swap waits for changeover release {record.id}" if now.hold else ""),
        ("batch rows", f"at most {now.batch_rows:,}" if now.batch_rows else ""),
        ("waits for", now.waiting),
        *(("gate", _gate(one)) for one in now.gates),
        ("approvals", _approvals(now, needed)),
        ("rejections", f"{now.rejections:,} writes could not be carried to the other shape" if now.rejections else ""),
        ("message", record.message),
        ("digest", record.plan_digest),
        ("next", _next(now, orphaned=orphaned)),
    ]


def _gate(one: GateRecord) -> str:
    failed = [check.name for check in one.result.checks if not check.stands]
    verdict = "passed" if one.passed else "FAILED: " + (", ".join(failed) or "nothing to check")
    return f"{one.gate} {verdict}, {len(one.result.checks)} checks, {span(age(one.at))} ago"


def _approvals(now: Standing, needed: int) -> str:
    said = ", ".join(f"{one.approver} ({one.decision})" for one in now.decisions)
    approved = sum(one.decision == "approve" for one in now.decisions)
    return f"{approved} of {needed} {said}".strip() if needed or said else ""


def _next(now: Standing, *, orphaned: bool) -> str:
    name, state = now.record.id, now.record.state.value
    if orphaned and state in ("rolling back", "contracting"):
        return f"changeover {'rollback' if state == 'rolling back' else 'contract'} {name}"
    if orphaned or state in ("paused", "failed"):
        return f"changeover resume {name}, or changeover rollback {name}"
    return {
        "awaiting approval": f"changeover approve {name}, then changeover resume {name} unless a run waits",
        "complete": f"changeover contract {name} when nobody needs the old shape, or changeover rollback {name}",
        "planned": f"changeover run {name}",
    }.get(state, "")


def _data(now: Standing, needed: int) -> dict[str, Any]:
    done, steps = now.done
    return {
        **now.record.model_dump(mode="json", exclude={"plan"}),
        "phase": now.phase,
        "steps": {"done": done, "total": steps},
        "backfill": [one.model_dump(mode="json") | {"fraction": one.fraction} for one in now.progress],
        "checkpoint_age_seconds": round(age(now.checkpoint), 1) if now.checkpoint else None,
        "pause": now.pause,
        "hold": now.hold,
        "batch_rows": now.batch_rows,
        "alive": now.alive,
        "waiting_for": now.waiting,
        "gates": [one.model_dump(mode="json", exclude={"result"}) for one in now.gates],
        "approvals": {"needed": needed, "decisions": [one.model_dump(mode="json") for one in now.decisions]},
        "rejections": now.rejections,
    }
