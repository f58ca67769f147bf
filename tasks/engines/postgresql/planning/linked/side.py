"""One of two tables that are kept in step, and the triggers on it that note what was written."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import NOT_OURS
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.model.names import OWN_TRIGGERS, quote
from tasks.model.plan import differing


@dataclass(frozen=True, kw_only=True)
class Side:
    """A table, its columns that count, and what ties it to the other one."""

    real: str
    """Quoted and qualified."""
    full_name: str
    columns: tuple[str, ...]
    """What is kept in step."""
    link: tuple[str, ...]
    key: tuple[str, ...]
    alone: bool
    """At most one row has a link."""

    @property
    def column(self) -> str:
        """The one that is kept in step, where it is one."""
        (only,) = self.columns
        return only

    def shown(self, alias: str, columns: Sequence[str]) -> tuple[str, ...]:
        """Return columns, quoted and qualified."""
        return tuple(f"{alias}.{quote(column)}" for column in columns)

    def values(self, alias: str) -> tuple[str, ...]:
        """The link of a row."""
        return self.shown(alias, self.link)

    def value(self, alias: str) -> str:
        """The column of a row."""
        return f"{alias}.{quote(self.column)}"

    def row_key(self, alias: str) -> str:
        """The key of a row as an array of texts."""
        return f"array[{', '.join(f'{one}::text' for one in self.shown(alias, self.key))}]"

    def linked(self, alias: str, arguments: Sequence[str]) -> str:
        """Condition of the rows with a link."""
        return " and ".join(f"{mine} = {given}" for mine, given in zip(self.values(alias), arguments, strict=True))

    def changed(self, columns: Sequence[str]) -> str:
        """Condition that an UPDATE changed the image of one of the columns."""
        old, new = (", ".join(self.shown(row, columns)) for row in ("old", "new"))
        return differing(old, new, exact=True)


_EVENTS = {
    "source": ("insert", "update", "delete", "truncate"),
    "target": ("insert", "update"),
    # A table that another one refers to is emptied with it, or not at all.
    "whole": ("insert", "update", "delete"),
    "part": ("insert", "update", "delete", "truncate"),
    # A table that both of them refer to.
    "first": ("update", "delete"),
}


def trigger_names(outbox: Outbox, role: str) -> dict[str, str]:
    """Return the names of the triggers of one side by event; they sort last."""
    return {event: f"{OWN_TRIGGERS}{outbox.tag}_{role}_{event}" for event in _EVENTS[role]}


def create_triggers(outbox: Outbox, side: Side, role: str, timing: str = "after", but: str = "") -> tuple[str, ...]:
    """Return the statements that put triggers on a table; they wake up only for columns that count.

    `but`: an event that has none.
    """
    names = {event: name for event, name in trigger_names(outbox, role).items() if event != but}
    watched = tuple(dict.fromkeys((*side.columns, *side.link, *side.key)))
    conditions = {"update": f"{NOT_OURS} and ({side.changed(watched)})"}
    statements = [
        f"create trigger {quote(name)} {timing} {event} on {side.real} for each"
        f" {'statement' if event == 'truncate' else 'row'} when ({conditions.get(event, NOT_OURS)})"
        f" execute function {outbox.function(role)}()"
        for event, name in names.items()
    ]
    always = ", ".join(f"enable always trigger {quote(name)}" for name in names.values())
    return (*statements, f"alter table {side.real} {always}")


def drop_triggers(outbox: Outbox, side: Side, role: str) -> tuple[str, ...]:
    """Return the statements that take them away, with the function behind them."""
    drops = [f"drop trigger if exists {quote(name)} on {side.real}" for name in trigger_names(outbox, role).values()]
    return (*drops, f"drop function if exists {outbox.function(role)}()")
