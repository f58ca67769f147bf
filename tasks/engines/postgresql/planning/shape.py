"""The two shapes of a table, and the columns that stand for each other in them.

Each shape maps the column names that an author writes to the physical columns that hold them. Names move at
the swap, so each mapping exists twice: before it and after it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.model.names import quote


@dataclass(frozen=True, kw_only=True)
class Target:
    """A column of the new shape, filled from the old shape by `up`."""

    name: str
    before: str
    after: str
    type: str
    up: str
    sources: tuple[str, ...]
    """Columns of the old shape that `up` reads."""
    not_null: bool = False
    elsewhere: bool = False
    """It reads other tables, too: nobody knows whether NULL is what it has to be."""
    volatile: bool = False
    """Two evaluations differ: the value can be filled in, but not compared."""
    drawn: bool = False
    """The old column draws its number from a sequence: until the swap the new one has no default of its own."""
    default: str | None = None
    """What a row has after the swap if nobody says anything; None, too, where that is another value each time."""


@dataclass(frozen=True, kw_only=True)
class Retired:
    """A column of the old shape that `contract` drops, kept in step by `down` until then."""

    name: str
    before: str
    after: str
    type: str
    down: str
    sources: tuple[str, ...]
    """Columns of the new shape that `down` reads."""
    lossy: bool = False
    not_null: bool = False
    held: str | None = None
    """A condition over the old value; rows that break it are being cleansed and need not come back."""
    volatile: bool = False
    """Two evaluations of `down` can differ: nothing can be compared with it."""
    stays_as: str | None = None
    """The column of the new shape that is this one, with other values or under another name."""

    @property
    def hidden(self) -> bool:
        """True when applications cannot name it after the swap."""
        return self.after != self.name


def stand_for_each_other(target: Target, retired: Retired) -> bool:
    """Tell whether one is made of the other."""
    return retired.name in target.sources or target.name in (*retired.sources, retired.stays_as)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Targets and retired columns that depend on each other."""

    targets: tuple[Target, ...]
    retired: tuple[Retired, ...]
    lost: tuple[str, ...]
    """Columns of the old shape that the targets are made of, and that go without a `down`."""

    @property
    def fed(self) -> tuple[Target, ...]:
        """Targets that `down` reads, or that are an old column: what the old columns say, they say."""
        read = {s for r in self.retired for s in (*r.sources, r.stays_as)}
        return tuple(t for t in self.targets if t.name in read)

    @property
    def free(self) -> tuple[Target, ...]:
        """The others: from the swap on they are the applications' own."""
        return tuple(t for t in self.targets if t not in self.fed)

    @property
    def following(self) -> tuple[Target, ...]:
        """Targets that go on following an old application after the swap: nobody else can say what they are made of."""
        going = {*self.lost, *(r.name for r in self.retired if r.stays_as is None)}
        return tuple(t for t in self.targets if t in self.fed or going & {*t.sources})

    @property
    def volatile(self) -> bool:
        """True when evaluating an expression again can give another value."""
        return any(t.volatile for t in self.targets) or any(r.volatile for r in self.retired)


Node = tuple[str, str]


@dataclass(kw_only=True)
class Shape:
    """What is known of a table's two shapes while its plan is being drawn up."""

    columns: tuple[str, ...]
    types: Mapping[str, str]
    """Of the old columns."""
    targets: list[Target] = field(default_factory=list)
    retired: list[Retired] = field(default_factory=list)
    dropped: set[str] = field(default_factory=set)
    """Old names that the new shape does not have."""
    pinned: bool = False
    """Some expression depends on settings of the session: dual write evaluates it under those of the backfill."""
    plain_new: dict[str, str] = field(default_factory=dict)
    """Columns of the new shape that need no expression, with their types."""

    def type_of(self, physical: str) -> str:
        """Return the type of a physical column, by its name before the swap."""
        new = {t.before: t.type for t in self.targets} | self.plain_new
        return new.get(physical) or self.types[physical]

    def old(self, *, swapped: bool) -> dict[str, str]:
        """Map the names of the old shape to physical columns."""
        moved = {r.name: r.after if swapped else r.before for r in self.retired}
        return {name: moved.get(name, name) for name in self.columns}

    def new(self, *, swapped: bool) -> dict[str, str]:
        """Map the names of the new shape to physical columns."""
        kept = {name: name for name in (*self.columns, *self.plain_new) if name not in self.dropped}
        return kept | {t.name: t.after if swapped else t.before for t in self.targets}

    def moves(self) -> tuple[tuple[str, str], ...]:
        """Return the renames of the swap, in order, for columns whose name changes."""
        away = [(r.before, r.after) for r in self.retired if r.before != r.after]
        return (*away, *((t.before, t.after) for t in self.targets if t.before != t.after))

    def groups(self) -> tuple[Group, ...]:
        """Return the connected sets of targets and retired columns, in a stable order."""
        nodes = [("new", t.name) for t in self.targets] + [("old", r.name) for r in self.retired]
        links = [(("new", t.name), ("old", s)) for t in self.targets for s in t.sources]
        links += [(("old", r.name), ("new", s)) for r in self.retired for s in r.sources]
        sets = _components(nodes, [(a, b) for a, b in links if a in nodes and b in nodes])
        return tuple(self._group(members) for members in sets)

    def _group(self, members: set[Node]) -> Group:
        targets = tuple(t for t in self.targets if ("new", t.name) in members)
        lost = self.dropped - {r.name for r in self.retired}
        return Group(
            targets=targets,
            retired=tuple(r for r in self.retired if ("old", r.name) in members),
            lost=tuple(dict.fromkeys(s for t in targets for s in t.sources if s in lost)),
        )


def _components(nodes: Sequence[Node], links: Iterable[tuple[Node, Node]]) -> list[set[Node]]:
    sets: list[set[Node]] = [{node} for node in nodes]
    for a, b in links:
        first = next(s for s in sets if a in s)
        second = next(s for s in sets if b in s)
        if first is not second:
            first |= second
            sets.remove(second)
    return sets


def projection(columns: Mapping[str, str], relation: str, alias: str, extra: Mapping[str, str] | None = None) -> str:
    """Return a FROM item that shows physical columns of `relation` under other names.

    `extra` maps further output names to SQL over the physical columns.
    """
    shown = [f"{quote(physical)} as {quote(name)}" for name, physical in columns.items()]
    shown += [f"{sql} as {quote(name)}" for name, sql in (extra or {}).items()]
    return f"(select {', '.join(shown)} from {relation}) as {quote(alias)}"
