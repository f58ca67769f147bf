"""What has to hold of a column of references and the rows between the two tables: before the swap, and after it.

A key with a note that is still to be carried is left out: the swap carries what is left, under locks on both tables.
"""

from collections.abc import Iterator

from tasks.engines.postgresql.planning.linked.gates import kept_in_step
from tasks.engines.postgresql.planning.linked.junction import BY_BYTES, Junction
from tasks.model.names import quote
from tasks.model.plan import Comparison, Requirement


def comparisons(junction: Junction) -> Iterator[Comparison]:
    """Compare the references of every row; of a column that holds one of many, what it holds."""
    whole, part = junction.whole, junction.part
    keys = {f"_changeover_key_{i}": one for i, one in enumerate(whole.shown("s", whole.key))}
    shown = [f"{sql} as {quote(key)}" for key, sql in keys.items()]
    reference = f"({part.value('t')}::text{BY_BYTES})"
    counts = junction.fits(reference)
    if junction.holds == "one":
        # What it does not show it says nothing about; but none means that there is none.
        counts = f"({part.value('t')} = {whole.value('s')} or {whole.value('s')} is null)"
    theirs = (
        f"(select array_agg({reference} order by {reference}) from {part.real} as t"
        f" where {part.linked('t', whole.values('s'))} and {counts})"
    )
    mine = f"(select array_agg(distinct y.e order by y.e) from unnest({junction.elements('s')}) as y (e))"
    waits = junction.outbox.waits(whole.values("s"))
    for gate in ("before_swap", "after_swap"):
        yield Comparison(
            name=f"{part.full_name} has what {whole.full_name}.{whole.column} says",
            table=whole.full_name,
            key=tuple(keys),
            stored="theirs",
            computed="mine",
            source=f"(select {', '.join(shown)}, {mine} as mine, {theirs} as theirs, {waits} as waits"
            f" from {whole.real} as s) as referring",
            where="not waits",
            gate=gate,
        )


def requirements(junction: Junction, begun: str) -> Iterator[Requirement]:
    """What keeps them in step is there; and the old shape can hold what a rollback would leave to it.

    `begun`: the step since which applications can write what it cannot.
    """
    whole, part = junction.whole, junction.part
    yield kept_in_step(junction.outbox, {"whole": whole, "part": part})
    keys, reference = ", ".join(part.values("t")), f"{part.value('t')}::text"
    waits = junction.outbox.waits(part.values("t"))
    if junction.holds == "list":
        yield Requirement(
            name=f"{whole.full_name}.{whole.column} can hold what {part.full_name} says: no value has the delimiter",
            table=whole.full_name,
            kind="parity",
            gate="before_rollback",
            violations=f"select {keys} from {part.real} as t where not {waits} and not {junction.fits(reference)}",
            reads_new=True,
            begun=begun,
        )
    if junction.holds != "one":
        yield from _fit(junction)
    else:
        yield Requirement(
            name=f"{whole.full_name}.{whole.column} can hold what {part.full_name} says: one row, one reference",
            table=whole.full_name,
            kind="parity",
            gate="before_rollback",
            violations=f"select {keys} from {part.real} as t where not {waits} group by {keys} having count(*) > 1",
            reads_new=True,
            begun=begun,
        )


def _fit(junction: Junction) -> Iterator[Requirement]:
    """No foreign key has kept the values of an array or a list in order: asked before the run, and again.

    After the swap, too, for what refers to nothing can never be carried; but for what the junction is about to take.
    """
    whole = junction.whole
    named = f"{whole.full_name}.{whole.column}"
    keys = ", ".join(whole.shown("s", whole.key))
    elements = junction.elements("s")
    other = f"o.{quote(junction.other_column)}::text{BY_BYTES}"
    strange = f"cardinality({elements}) <> (select count(distinct y.e) from unnest({elements}) as y (e))"
    if junction.holds == "array":
        strange += (
            f" or cardinality({whole.value('s')}) <> cardinality({elements}) or array_ndims({whole.value('s')}) > 1"
        )
    refers = Requirement(
        name=f"{named} refers to rows of {junction.other_name}",
        table=whole.full_name,
        kind="parity",
        violations=f"select {keys} from {whole.real} as s, unnest({elements}) as y (e)"
        f" where not exists (select from {junction.other} as o where {other} = y.e)",
    )
    last = junction.last_note(whole.values("s"), "y.e")
    waiting = f"{refers.violations} and {last} is distinct from 't'"
    yield refers.model_copy(update={"gate": "after_swap", "violations": waiting, "reads_new": True})
    for gate in ("before_run", "before_swap"):
        yield refers.model_copy(update={"gate": gate})
        yield Requirement(
            name=f"{named} has no value twice, no NULL among them, and no second dimension",
            table=whole.full_name,
            kind="parity",
            gate=gate,
            violations=f"select {keys} from {whole.real} as s where {strange}",
        )
