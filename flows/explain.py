"""Explain a plan: the sibling of the executor, which walks the very same steps and does nothing."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from flows.notices import notices
from profiles.model import Limits
from tasks.model.document_steps import CollectionCommand, Rebuild, Reshape
from tasks.model.plan import Plan
from tasks.model.status import StepRecord, StepState
from tasks.model.step_costs import held_of, locks_of, rows_of, told_locks
from tasks.model.steps import (
    Backfill,
    ConcurrentIndex,
    Copy,
    CopyAgain,
    Phase,
    Reconcile,
    SelfCommitting,
    ShortTransaction,
    Step,
    Validation,
    only_for_rollback,
)
from tasks.model.transfer_steps import POSITION, Collection, DocumentTransfer, Relation, RowTransfer, TransferField
from validations.compatibility.changes import Change
from validations.compatibility.plan_shape import of_plan
from validations.outcome import THE_CATALOGUE

ROWS_PER_SECOND = 300_000
"""A rough figure of one pass over a table; only to tell seconds from hours."""
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def statements_of(step: Step) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the statements of a step, forward and back."""
    match step.action:
        case ShortTransaction() | SelfCommitting() | Validation() as action:
            return action.forward, action.inverse
        case ConcurrentIndex() as action:
            drop = f'drop index concurrently if exists "{action.schema_name}"."{action.name}"'
            return ((), (action.create,)) if action.build_on == "inverse" else ((action.create,), (drop,))
        case Backfill() as action:
            filled = ", ".join(f"{a.column} = {a.expression}" for a in action.assignments)
            return (f"update {action.table} set {filled}  -- in ranges of {', '.join(action.key)}",), ()
        case Copy() as action:
            columns = ", ".join(a.column for a in action.assignments)
            values = ", ".join(a.expression for a in action.assignments)
            return (
                f"insert into {action.target} ({columns}) select {values} from {action.table}"
                f"  -- in ranges of {', '.join(action.key)}; rows that are there stay",
            ), ()
        case (
            Collection()
            | DocumentTransfer()
            | Relation()
            | RowTransfer()
            | Reshape()
            | Rebuild()
            | CollectionCommand() as action
        ):
            return _elsewhere(action)
        case Reconcile() | CopyAgain() as action:
            return (f"-- compare {action.table} with {action.copy_of.target}, and carry over what differs",), ()


def _elsewhere(
    action: Collection | DocumentTransfer | Relation | RowTransfer | Reshape | Rebuild | CollectionCommand,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if isinstance(action, Relation | RowTransfer):
        return _in_a_table(action)
    if isinstance(action, Reshape | CollectionCommand):
        return _documents(action)
    if isinstance(action, Rebuild):
        return _rebuilt(action)
    if isinstance(action, DocumentTransfer):
        kept = f" where {action.where}" if action.where else ""
        values = ", ".join(field.expression for field in action.fields if field.expression)
        return (f"select {values} from {action.table}{kept}  -- in ranges of {', '.join(action.key)}",), ()
    if action.does == "make":
        return (f"-- {action.database}: createCollection, under a name of ours",), ("-- drop it",)
    return (f"-- {action.database}: renameCollection to {action.name}",), ("-- rename it back",)


def _in_a_table(action: Relation | RowTransfer) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is done to a table of another database."""
    if isinstance(action, RowTransfer):
        if action.of == "collection":
            of = f", the elements of {'.'.join(action.unnest)}" if action.unnest else ""
            return (f"-- {action.alias}.find({action.where or '{}'}){of}  -- in ranges of _id",), ()
        kept = f" where {action.where}" if action.where else ""
        values = ", ".join(one.expression for one in action.columns)
        return (f"select {values} from {action.table}{kept}  -- in ranges of {', '.join(action.key)}",), ()
    if action.does == "make":
        return (action.create,), (f"drop table {action.staged}",)
    if action.does == "watch":
        return (f"-- watch(), and its position into {action.stream}",), ()
    if action.does == "clear":
        schema = f"drop schema {action.helpers}  -- with its tables"
        return (schema if action.engine == "postgresql" else f"-- drop the tables of {action.helpers}",), ()
    forward, back = (
        (f"rename table {action.staged} to {action.target}", f"rename table {action.target} to {action.staged}")
        if action.engine == "mariadb"
        else (
            f"alter table {action.staged} set schema {action.schema_name}",
            f"alter table {action.target} set schema {action.helpers}",
        )
    )
    return (forward,), (back,)


def _documents(action: Reshape | CollectionCommand) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return commands of MongoDB as extended JSON, and what is done to documents in words."""
    if isinstance(action, CollectionCommand):
        return tuple(filter(None, [action.forward])), tuple(filter(None, [action.inverse]))
    pairs = [f"-- {action.collection}: {pair.new} = {pair.up}" for pair in action.pairs]
    back = [f"-- {action.collection}: {pair.old} = {pair.down}" for pair in action.pairs if pair.down]
    if action.does == "fill":
        return tuple(pairs), tuple(back)
    if action.does == "contract":
        return tuple(f"-- {action.collection}: unset {'.'.join(path)}" for path in action.gone), ()
    return (), ()


def _rebuilt(action: Rebuild) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what is done to the collections of a rebuild, in words and extended JSON."""
    new, kept, name = action.new, action.kept, action.collection
    rename = "-- renameCollection {}_... to {}, with dropTarget, when all that was written is in it"
    match action.does:
        case "create":
            return (f"-- create {new}_...: {action.options}", f"-- create {kept}_...: {action.kept_options}"), ()
        case "fill":
            return (f"-- {new}_...: {action.up}", f"-- {kept}_...: as they are"), (f"-- {name}: {action.down}",)
        case "index":
            return (f"-- {new}_...: {action.indexes}", f"-- {kept}_...: {action.kept_indexes}"), ()
        case "swap":
            return (rename.format(new, name),), (rename.format(kept, name),)
        case "contract":
            return (f"-- drop {kept}_...",), ()
    return (), ()


def duration_of(step: Step, plan: Plan, limits: Limits) -> str:
    """Say roughly how long a step takes."""
    if isinstance(step.action, Collection | Relation):
        return "short"
    if isinstance(step.action, Rebuild) and step.action.does == "swap":
        return f"short, waits for locks < {limits.lock_budget} ms"
    if isinstance(step.action, Reshape | Rebuild) and rows_of(step, plan) is None:
        return "short"
    short = isinstance(step.action, CollectionCommand) and not step.action.long
    if short or isinstance(step.action, ShortTransaction | SelfCommitting):
        return f"{held_of(step) if step.authored else 'short'}, waits for locks < {limits.lock_budget} ms"
    rows = rows_of(step, plan)
    return "" if rows is None else f"about {rows:,} rows, about {span(max(rows / ROWS_PER_SECOND, 1))}"


def span(seconds: float) -> str:
    """Write a length of time the way people do."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def tree(plan: Plan, records: Mapping[str, StepRecord], limits: Limits, *, sql: bool = False) -> Tree:
    """Draw the steps by phase, in the order in which `run` carries them out, done ones as SKIP."""
    root = Tree(Text(f"{plan.migration}: {len(plan.steps)} steps", style="bold"))
    if _checks(plan, "before_run"):
        root.add(_gate(plan, "before_run"))
    for phase in Phase:
        steps = [step for step in plan.phase(phase) if not only_for_rollback(step)]
        if phase is Phase.CONSTRAIN:
            root.add(_gate(plan, "before_swap"))
        branch = root.add(Text(_title(phase, plan), style="bold")) if steps else None
        for step in steps:
            assert branch is not None
            _add(branch, step, plan, records, limits, sql=sql)
        if phase is Phase.SWAP:
            root.add(_gate(plan, "after_swap"))
    _only_back(root, plan, sql=sql)
    return root


def _title(phase: Phase, plan: Plan) -> str:
    if phase is Phase.CONTRACT:
        return f"contract (later, by itself: changeover contract {plan.migration})"
    return phase.value


def _checks(plan: Plan, gate: str) -> list[str]:
    compared = [one.name for one in plan.comparisons if one.gate == gate]
    fitting = [one.name for one in plan.conversions] if gate == "before_run" else []
    probed = [f"probe: {one.name}" for one in plan.probes] if gate == "after_swap" else []
    shaped = [THE_CATALOGUE] if gate == "after_swap" and plan.outcome and plan.outcome.tables else []
    return fitting + compared + [one.name for one in plan.requirements if one.gate == gate] + shaped + probed


def _gate(plan: Plan, gate: str) -> Text:
    checks = len(_checks(plan, gate))
    text = Text("validate", style="bold")
    return text.append(f": gate {gate}, {checks} check{'s' if checks != 1 else ''}", style="not bold")


def _add(branch: Tree, step: Step, plan: Plan, records: Mapping[str, StepRecord], limits: Limits, *, sql: bool) -> None:
    record = records.get(step.key)
    if record is not None and record.state is StepState.DONE:
        branch.add(Text("SKIP ", style="green").append(f"{step.title} (done)", style="dim"))
        return
    node = branch.add(Text(step.title))
    about = "; ".join(part for part in (told_locks(step), duration_of(step, plan, limits)) if part)
    if about:
        node.add(Text(about, style="cyan"))
    if step.phase is not Phase.CONTRACT:
        node.add(Text(f"rollback: {step.undo or 'nothing needed'}", style="dim"))
    elif step.undo:
        node.add(Text(step.undo, style="red"))
    if isinstance(step.action, DocumentTransfer):
        _shape(node, step.action)
    if isinstance(step.action, RowTransfer):
        _columns(node, step.action)
    if sql:
        forward, back = statements_of(step)
        _sql(node, forward, "")
        _sql(node, back, "rollback: ")


def _shape(node: Tree, action: DocumentTransfer) -> None:
    """Show what a document will look like."""
    shape = node.add(Text(f"each document of {action.into.name}:"))
    for field in action.fields:
        line = Text(f"{'.'.join(field.path)}: ", style="bold")
        inner = shape.add(line.append(_made_of(field), style="not bold"))
        for one in field.rows.fields if field.rows is not None else ():
            line = Text(f"{'.'.join(one.path)}: ", style="bold")
            inner.add(line.append(_made_of(one), style="not bold"))


def _made_of(field: TransferField) -> str:
    if field.holds == "constant":
        return repr(field.constant)
    if field.rows is not None:
        where = f", where {' '.join(field.rows.where.split())}" if field.rows.where else ""
        none = "" if field.nulls == "keep" else ", left out when there are none"
        unfit = ", left out with the row when too large" if field.unfit == "reject" else ""
        return f"rows of {field.source_type} that refer to this one{where}{none}{unfit}:"
    null = "" if field.nulls == "keep" else ", left out when NULL"
    unfit = "" if field.unfit == "fail" else f", {field.unfit} what does not fit"
    return f"{field.holds} of {' '.join(field.expression.split())} ({field.source_type}){null}{unfit}"


def _columns(node: Tree, action: RowTransfer) -> None:
    """Show the table that is made: what a spec can change in `columns`."""
    shape = node.add(Text(f"the table {action.into.full_name}, which `columns` of the spec can change:"))
    for one in action.columns:
        line = Text(f"{one.name}: ", style="bold")
        absent = {"null": "", "missing": ", NULL where missing", "both": ", NULL where null or missing"}[one.nulls]
        null = absent if one.nullable else ", not null"
        unfit = "" if one.unfit == "fail" else f", {one.unfit} what does not fit"
        of = f" of {' '.join(one.expression.split())}" if one.expression else ""
        of = ", the place of the element" if one.expression == POSITION else of
        line.append(f"{one.type}{of} ({one.source_type}){null}{unfit}", style="not bold")
        shape.add(line)
    shape.add(Text(f"primary key: {', '.join(action.target_key)}"))


def _sql(node: Tree, statements: Sequence[str], prefix: str) -> None:
    for statement in statements:
        node.add(Text(f"{prefix}{statement};", style="dim" if prefix else "green"))


def _only_back(root: Tree, plan: Plan, *, sql: bool) -> None:
    steps = [step for step in reversed(plan.steps) if only_for_rollback(step)]
    if not steps:
        return
    branch = root.add(Text("only in a rollback after the swap", style="bold"))
    for step in steps:
        node = branch.add(Text(f"{step.undo or step.title}", style="dim"))
        if sql:
            _sql(node, statements_of(step)[1], "rollback: ")


_KINDS = {"breaking": "bold red", "needs transformation": "yellow", "warning": "cyan"}


def changed(one: Change) -> Text:
    """Say what applications that know the old shape will meet, and what to do about it."""
    line = Text.assemble("  ", (one.kind, _KINDS[one.kind]), f" {one.where} {one.what}")
    return line.append(f"\n    {one.recommendation}", style="dim")


def findings(plan: Plan) -> Iterator[Text]:
    """Yield what the plan has to say, each with place, rule and remedy, and the totals."""
    for one in plan.findings:
        line = Text.assemble((one.severity, _STYLES[one.severity]), f" {one.rule}: {one.message}")
        if one.where:
            line.append(f"\n  where: {one.where}")
        if one.hint:
            line.append(f"\n  hint:  {one.hint}")
        yield line
    counts = {kind: sum(one.severity == kind for one in plan.findings) for kind in _STYLES}
    yield Text(", ".join(f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in counts.items()), style="dim")


def explanation(plan: Plan, records: Mapping[str, StepRecord], limits: Limits, *, sql: bool = False) -> Group:
    """Return everything that `plan` shows beneath its header."""
    parts: list[Any] = [tree(plan, records, limits, sql=sql), Text()]
    told = notices(plan)
    if told:
        parts += [Text("What applications will notice", style="bold"), *(Text(f"  {line}") for line in told), Text()]
    met = of_plan(plan)
    if met:
        parts += [Text("Compatibility", style="bold"), *map(changed, met), Text()]
    parts += [Text("Findings", style="bold"), *findings(plan)]
    return Group(*parts)


def as_data(plan: Plan, records: Mapping[str, StepRecord], limits: Limits) -> dict[str, Any]:
    """Return the same as plain values, with keys that stay."""
    return {
        "steps": [_step_data(step, plan, records) for step in plan.steps],
        "gates": {gate: _checks(plan, gate) for gate in ("before_run", "before_swap", "after_swap")},
        "notices": list(notices(plan)),
        "compatibility": [one.model_dump(mode="json") for one in of_plan(plan)],
        "findings": [one.model_dump(mode="json") for one in plan.findings],
        "estimates": [one.model_dump(mode="json") for one in plan.estimates],
        "lock_budget_ms": limits.lock_budget,
    }


def _step_data(step: Step, plan: Plan, records: Mapping[str, StepRecord]) -> dict[str, Any]:
    forward, back = statements_of(step)
    rows = rows_of(step, plan)
    record = records.get(step.key)
    return {
        "key": step.key,
        "phase": step.phase.value,
        "title": step.title,
        "undo": step.undo,
        "kind": step.action.kind,
        "state": record.state.value if record is not None else StepState.PENDING.value,
        "rollback_only": only_for_rollback(step),
        "locks": [lock.model_dump(mode="json", exclude={"by"}) for lock in locks_of(step)],
        "held": held_of(step).name.lower(),
        "rows": rows,
        "seconds": None if rows is None else round(rows / ROWS_PER_SECOND, 1),
        "forward": list(forward),
        "inverse": list(back),
    }
