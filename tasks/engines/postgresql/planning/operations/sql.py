"""sql: the author's own statements, under the same lock budget as ours."""

import re

from tasks.engines.postgresql.planning.spec_draft import SpecDraft
from tasks.model.errors import SpecError
from tasks.model.operations import Sql
from tasks.model.plan import Finding
from tasks.model.steps import Phase, ShortTransaction, Step

OUTSIDE_TRANSACTION = re.compile(r"\b(concurrently|vacuum|create\s+database|alter\s+system)\b", re.IGNORECASE)


TRANSACTION_CONTROL = re.compile(
    r"^\s*(commit|rollback|abort|savepoint|start\s+transaction|prepare\s+transaction)\b", re.IGNORECASE | re.MULTILINE
)


def draft_sql(op: Sql, draft: SpecDraft, where: str) -> None:
    """Run `up` when expanding, or when contracting with `on_complete`; `down` takes it back."""
    phase = Phase.CONTRACT if op.on_complete else Phase.EXPAND
    for name, text in (("up", op.up), ("down", op.down)):
        if text is None:
            continue
        if OUTSIDE_TRANSACTION.search(text):
            raise SpecError(
                "a statement that cannot run inside a transaction",
                where=f"{where}.{name}",
                hint="Use create_index for a concurrent index; run anything else by hand.",
            )
        if TRANSACTION_CONTROL.search(text):
            raise SpecError(
                "a statement that ends or begins a transaction",
                where=f"{where}.{name}",
                hint="Leave it out: the statements run in one transaction with the ledger's entry.",
            )
        draft.parses([text], f"{where}.{name}")
    if op.down is None and not op.on_complete:
        draft.findings.append(
            Finding(
                rule="SAF-10",
                severity="warning",
                message="the author's SQL has no `down`: a rollback leaves what it did",
                where=where,
            )
        )
    draft.steps.append(
        Step(
            key=f"{phase}/sql/{where}",
            phase=phase,
            title="run the author's SQL",
            undo="run the author's `down`" if op.down else "nothing: the author gave no `down`",
            action=ShortTransaction(forward=(op.up,), inverse=(op.down,) if op.down else ()),
        )
    )
