"""What has to hold of the two halves of a row: before the swap, and after it.

A key with a note that is still to be carried is left out: the swap carries what is left, under locks on both tables.
"""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.linked.gates import kept_in_step
from tasks.engines.postgresql.planning.linked.halves import Halves
from tasks.model.names import quote
from tasks.model.plan import Comparison, Requirement


def comparisons(halves: Halves) -> Iterator[Comparison]:
    """Compare every column, before the swap and after it; a half that is not there is asked for by `requirements`."""
    whole, part = halves.whole, halves.part
    keys = {f"_changeover_key_{i}": one for i, one in enumerate(whole.shown("s", whole.key))}
    shown = [f"{sql} as {quote(key)}" for key, sql in keys.items()]
    shown += [f"{one} as mine_{i}" for i, one in enumerate(whole.shown("s", whole.columns))]
    # A gate without a row to look at has failed, so that rows without another half are looked at, too.
    pairs = zip(whole.shown("s", whole.columns), part.shown("t", part.columns), strict=True)
    shown += [f"case when t.ctid is null then {a} else {b} end as theirs_{i}" for i, (a, b) in enumerate(pairs)]
    # What the new shape allows and the old one cannot hold is asked for before a rollback.
    held = f"({halves.says('s')} or {halves.empty('s')})"
    tied = part.linked("t", whole.values("s"))
    for gate in ("before_swap", "after_swap"):
        waits = halves.outbox.waits(whole.values("s"))
        if halves.merges and gate == "after_swap":
            waits += f" or not {held}"
        # One FROM item for all of them, so that a gate can compare them in one pass.
        rows = (
            f"(select {', '.join(shown)}, {waits} as waits"
            f" from {whole.real} as s left join {part.real} as t on {tied}) as halves"
        )
        for number, column in enumerate(whole.columns):
            yield Comparison(
                name=f"{part.full_name}.{part.columns[number]} equals {whole.full_name}.{column}",
                table=whole.full_name,
                key=tuple(keys),
                stored=f"theirs_{number}",
                computed=f"mine_{number}",
                source=rows,
                where="not waits",
                gate=gate,
            )


def requirements(halves: Halves) -> Iterator[Requirement]:
    """Every row has its other half, and what keeps them in step is there."""
    whole, part = halves.whole, halves.part
    keys = ", ".join(whole.shown("s", whole.key))
    missing = (
        f"not exists (select from {part.real} as t where {part.linked('t', whole.values('s'))})"
        f" and not {halves.outbox.waits(whole.values('s'))}"
    )
    # After the swap a new application may delete its row, which leaves NULLs.
    filled = f"not {halves.empty('s')}"
    for gate, present in (("before_swap", halves.says("s")), ("after_swap", f"{halves.says('s')} and {filled}")):
        yield Requirement(
            name=f"{whole.full_name} has its rows in {part.full_name}",
            table=whole.full_name,
            kind="parity",
            gate=gate,
            violations=f"select {keys} from {whole.real} as s where {present} and {missing}",
            reads_new=True,
        )
    if halves.merges and halves.needed:
        yield Requirement(
            name=f"{part.full_name} can hold what {whole.full_name} says",
            table=whole.full_name,
            kind="not null",
            gate="before_rollback",
            violations=f"select {keys} from {whole.real} as s where {filled} and not ({halves.says('s')})",
            reads_new=True,
        )
    yield kept_in_step(halves.outbox, {"whole": whole, "part": part})
