"""Foreign keys of a table that is made anew: the new table bears them as well, until the old one is dropped.

What a foreign key does to rows InnoDB does by itself, and fires no trigger for it: each of both tables has its own, in
both directions. Two things follow from that.

A row that goes from a parent is looked for in the order of the names of foreign keys, by their bytes. An application
locks a row of the table that is in use, and then, by a trigger, that of the other one: were it the other way about for
whoever writes to the parent, they would wait for each other. A RENAME gives foreign keys the name of their table anew
where they are called as the server calls them itself, `<table>_ibfk_...`. So all of them are called like that from
before the swap until the contract, and the names of the other table, shadow or old one, come after the name in use. For
the same reason a trigger does not look for the parent once more: it would lock it, and has a row of the child.

The shadow has them when it is full. Where rows are missing, who deletes parents would lock the gaps in which others
insert. What they have done to rows until then is found by the comparison, which begins when no transaction is left
that has written to a parent without meeting the shadow.

Where a row may not be what it is in the table that is in use, no foreign key refuses what is done to a parent: those
that change no rows come when the rows have been compared, and leave the old table after the swap; of those that do, the
event that refuses is one that writes, as long. Who is to be refused is refused by the table that is in use.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.engines.mysql.names import own, quote, quoted
from tasks.engines.mysql.planning.catalogue import exclusive
from tasks.engines.mysql.planning.change import Change
from tasks.model.catalogue import Constraint, Table
from tasks.model.errors import SpecError
from tasks.model.steps import Phase, SelfCommitting, Step

_MARK = "_ibfk_"
"""Between the name of the table and a number: how the server calls foreign keys itself."""
_LAST = "~"
"""Before the names of tables that have to come after another: after all of ASCII that a name begins with."""
_LONGEST = 64
UNLOCK = "unlock tables"
"""After LOCK TABLES, which wants a privilege of its own."""
AT_ONCE = ", algorithm=nocopy, lock=none"
_CHECKED = "set session foreign_key_checks = 1"
_EVENTS = ("delete", "update")
UNCHECKED = "set session foreign_key_checks = 0"
"""Rows are compared, not checked: without it the server reads the whole table, and lets nobody write."""


@dataclass(frozen=True, kw_only=True)
class ForeignKey:
    """One that a table has, and the new one is to have."""

    name: str
    end: str
    """What follows the name of the table, and the mark, as long as there are two tables."""
    columns: tuple[str, ...]
    new_columns: tuple[str, ...]
    parent: str
    """Full name."""
    parent_columns: tuple[str, ...]
    new_parent_columns: tuple[str, ...]
    """Where the table refers to itself, as do the new one and the old one, these have the names of the new one."""
    itself: bool
    rules: str

    @property
    def writes(self) -> bool:
        """Whether the server changes, or deletes, rows for its sake."""
        return "cascade" in self.rules or "set null" in self.rules

    @property
    def refuses(self) -> bool:
        """Whether the server refuses something that is done to a parent, as it does where nothing else is said."""
        return len(re.findall("cascade|set null", self.rules)) < len(_EVENTS)

    def on(self, table: str) -> str:
        """Return how it is called on a table."""
        return f"{table}{_MARK}{self.end}"

    def yielding(self) -> "ForeignKey":
        """Return it as it is where rows may be others than in the table that is in use: it refuses nothing."""
        kept = {event: _rule(self.rules, event) or "cascade" for event in _EVENTS}
        rules = "".join(f" on {event} {rule}" for event, rule in kept.items())
        return replace(self, end=f"{self.end}{_LAST}", rules=rules) if self.refuses else self

    def add(self, name: str, on: str, parent: str = "", *, new: bool, again: bool = False) -> str:
        """Return the clause that makes it, on a table of the old shape, or the new one."""
        sides = (self.new_columns, self.new_parent_columns) if new else (self.columns, self.parent_columns)
        columns, there = (", ".join(map(quote, names)) for names in sides)
        schema, _, bare = self.parent.partition(".")
        parent = on if self.itself else parent
        to = quote(parent) if parent else f"{quote(schema)}.{quote(bare)}"
        unless = " if not exists" if again else ""
        return f"add constraint {quote(name)} foreign key{unless} ({columns}) references {to} ({there}){self.rules}"


def _rule(rules: str, event: str) -> str:
    """Return what is written for the sake of an event; empty if it is refused."""
    found = re.search(rf"on {event} (cascade|set null)", rules)
    return found[1] if found else ""


def name_of_other(tag: str, number: int, role: str) -> str:
    """Name a table of ours that comes after the one in use."""
    return _LAST + own(tag, number, role).lstrip("_")


def carried(change: Change, new: Table) -> tuple[ForeignKey, ...]:
    """Return the foreign keys of a table. Raises SpecError for those that the new table could not have."""
    table = change.table
    keys = [one for one in table.constraints if one.kind == "foreign key"]
    if not keys:
        return ()
    ends = _ends(table, keys)
    made = tuple(_carried(change, one, ends[one.name]) for one in keys)
    for one in made:
        _refuse(change, new, one)
    return made


def _carried(change: Change, one: Constraint, end: str) -> ForeignKey:
    itself = one.referenced_table == change.table.full_name
    known = {column.name.casefold(): column.name for column in change.table.columns} if itself else {}
    there = tuple(known.get(column.casefold(), column) for column in one.referenced_columns)
    return ForeignKey(
        name=one.name,
        end=end,
        columns=one.columns,
        new_columns=tuple(change.renamed.get(column, column) for column in one.columns),
        parent=str(one.referenced_table),
        parent_columns=there,
        new_parent_columns=tuple(change.renamed.get(column, column) for column in there) if itself else there,
        itself=itself,
        rules=rules_of(one.definition),
    )


def _ends(table: Table, keys: Sequence[Constraint]) -> dict[str, str]:
    """Give an end to each: its own, or a number that is free."""
    ours = f"{table.name}{_MARK}"
    ends = {one.name: one.name.removeprefix(ours) for one in keys if one.name.startswith(ours)}
    free = max((int(end) for end in ends.values() if re.fullmatch("[0-9]{1,6}", end)), default=0)
    for one in keys:
        if one.name not in ends:
            free += 1
            ends[one.name] = str(free)
    return ends


def rules_of(definition: str) -> str:
    """Write what is done to rows as the server prints it, which leaves out what refuses."""
    found = re.fullmatch(r"on update (.*) on delete (.*)", definition, re.IGNORECASE)
    assert found, definition
    told = (("delete", found[2].lower()), ("update", found[1].lower()))
    return "".join(f" on {event} {rule}" for event, rule in told if rule != "restrict")


def _refuse(change: Change, new: Table, key: ForeignKey) -> None:
    table = change.table
    used = {*key.columns, *(key.parent_columns if key.itself else ())}
    for so, what, hint in (
        (
            bool(new.partition_key),
            "a table that is partitioned has none",
            "Drop it for good, or leave the table unpartitioned.",
        ),
        (
            bool(used & change.dropped),
            "a column of it is dropped",
            "Drop the foreign key before the migration.",
        ),
        (
            bool({*used, *key.new_columns} & {*change.up, *change.down}),
            "`up` or `down` would change the values of its columns",
            "Leave them as they are: the parents have them.",
        ),
        (
            # NULLs are in nobody's way.
            _rule(key.rules, "update") == "cascade"
            and any(one.unique and set(one.columns) & set(key.new_columns) for one in new.indexes),
            "the server changes its columns by itself, and they are in a unique key: rows that are gone from the table"
            " since they were copied may be in the way, and fail the statement of the application",
            "Drop the foreign key for the migration, and add it again afterwards.",
        ),
        (
            key.writes and any(_names(key, text) for text in (*change.up.values(), *change.down.values())),
            "the server changes its columns by itself, and `up` or `down`, which read one, are not asked then",
            "Leave them out, or drop the foreign key for the migration, and add it again afterwards.",
        ),
        (
            table.name.encode() >= _LAST.encode() or _MARK in table.name,
            "no table of ours comes after this one by its name, so that who writes to a parent would wait for who"
            " writes to the table, and the other way about",
            "Drop the foreign key for the migration, and add it again afterwards.",
        ),
        (
            key.name.lower().startswith(f"{table.name}{_MARK}".lower())
            and not key.name.startswith(f"{table.name}{_MARK}"),
            "it is called as the server calls them, but for the case of letters, and so would be in the way of its own"
            " name meanwhile",
            "Drop it, and add it again by another name.",
        ),
        (
            len(key.on(table.name)) > _LONGEST,
            f"it is to be called {key.on(table.name)} meanwhile, which is too long",
            "Drop the foreign key for the migration, and add it again afterwards.",
        ),
    ):
        if so:
            raise SpecError(
                f"{table.full_name} cannot be made anew with its foreign key {key.name}: {what}",
                where=table.full_name,
                hint=hint,
            )


def _names(key: ForeignKey, text: str) -> bool:
    names = "|".join(re.escape(name) for name in {*key.columns, *key.new_columns})
    return re.search(rf"(?<![\w$])(?:{names})(?![\w$])", text, re.IGNORECASE) is not None


def renamed(table: Table, keys: Sequence[ForeignKey]) -> Table:
    """Return the table as it is before the swap: its foreign keys have the names that a RENAME changes."""
    names = {one.name: one.on(table.name) for one in keys}
    return _called(table, table.name, names)


def follow(table: Table, name: str) -> Table:
    """Return the table under another name, as a RENAME of it does: with foreign keys that are called after it."""
    ours = f"{table.name}{_MARK}"
    names = [one.name for one in table.constraints if one.kind == "foreign key" and one.name.startswith(ours)]
    return _called(table, name, {one: f"{name}{_MARK}{one.removeprefix(ours)}" for one in names})


def _called(table: Table, name: str, names: Mapping[str, str]) -> Table:
    """Return the table, and its foreign keys, under other names; those to itself are seen from both ends."""
    now = table.model_copy(update={"name": name})
    constraints = (
        one.model_copy(
            update={
                "name": names.get(one.name, one.name),
                "referenced_table": now.full_name if one.referenced_table == table.full_name else one.referenced_table,
            }
        )
        if one.kind == "foreign key"
        else one
        for one in table.constraints
    )
    inbound = (
        one.model_copy(update={"table": now.full_name, "name": names.get(one.name, one.name)})
        if one.table == table.full_name
        else one
        for one in table.inbound
    )
    return now.model_copy(update={"constraints": tuple(constraints), "inbound": tuple(inbound)})


def has(table: str, names: Sequence[str]) -> str:
    """Return a query that gives a row if a table has all of these foreign keys."""
    listed = ", ".join(map(quoted, names))
    return (
        "select 1 from information_schema.referential_constraints where constraint_schema = database()"
        f" and table_name = {quoted(table)} and constraint_name in ({listed}) having count(*) = {len(names)}"
    )


def _has_none(table: str, names: Sequence[str]) -> str:
    listed = ", ".join(map(quoted, names))
    return (
        "select 1 from dual where not exists (select 1 from information_schema.referential_constraints"
        f" where constraint_schema = database() and table_name = {quoted(table)} and constraint_name in ({listed}))"
    )


def own_indexes(on: str, table: Table, columns: Sequence[tuple[str, ...]]) -> list[str]:
    """Return what makes indexes those of a table that the server may have made for foreign keys with these columns.

    It calls those anew with each foreign key. One that is given its own name, in an instant, is left alone after that.
    """
    same = [one.name for one in table.indexes if not one.primary and one.columns in columns]
    clauses = ", ".join(f"rename index {quote(name)} to {quote(name)}" for name in same)
    return [f"alter table {quote(on)} {clauses}, algorithm=instant, lock=none"] if same else []


def before_comparison(table: Table, keys: Sequence[ForeignKey], shadow: str) -> Iterator[Step]:
    """Yield what gives the shadow its foreign keys, and lets nobody remain who has written without meeting them."""
    if not keys:
        return
    full, writing = table.full_name, [one.yielding() for one in keys if one.writes]
    if writing:
        yield Step(
            key=f"index/{full}/foreign keys",
            phase=Phase.INDEX,
            title=f"give the new table the foreign keys of {full} by which rows are changed, and nobody is refused",
            undo="drop them",
            action=SelfCommitting(
                table=full,
                forward=(UNCHECKED, _drop(shadow, (), *(one.add(one.on(shadow), shadow, new=True) for one in writing))),
                locks=exclusive(full),
                outlasts_prepared=True,
                inverse=(_drop(shadow, [one.on(shadow) for one in writing]),),
                done=has(shadow, [one.on(shadow) for one in writing]),
            ),
        )
    yield from _named_after(table, keys)
    if writing:
        yield Step(
            key=f"index/{full}/prepared",
            phase=Phase.INDEX,
            title="wait for prepared transactions (XA), which may have written to parents before the new table had its"
            " foreign keys",
            action=SelfCommitting(table=full, outlasts_prepared=True),
        )


def before_swap(table: Table, keys: Sequence[ForeignKey], shadow: str) -> Iterator[Step]:
    """Yield what lets the foreign keys of the shadow refuse, too: its rows have been compared."""
    refusing = [one for one in keys if one.refuses]
    if refusing:
        full, names = table.full_name, [one.on(shadow) for one in refusing]
        meanwhile = [one.yielding() for one in refusing if one.writes]
        yield Step(
            # Last of all before the swap: a hold may last for days.
            key=f"swap/{full}/foreign keys of the new table",
            phase=Phase.SWAP,
            title=f"give the new table the foreign keys of {full} that refuse what is done to parents",
            undo="take them off it",
            action=SelfCommitting(
                table=full,
                forward=(
                    UNCHECKED,
                    _drop(
                        shadow,
                        [one.on(shadow) for one in meanwhile],
                        *(one.add(one.on(shadow), shadow, new=True) for one in refusing),
                    ),
                ),
                locks=exclusive(full),
                outlasts_prepared=True,
                inverse=(
                    UNCHECKED,
                    _drop(shadow, names, *(one.add(one.on(shadow), shadow, new=True) for one in meanwhile)),
                ),
                done=has(shadow, names),
            ),
        )


def after_swap(table: Table, keys: Sequence[ForeignKey], old: str) -> Iterator[Step]:
    """Yield what keeps the foreign keys of the old table from refusing: the table in use does, and it may differ."""
    refusing = [one for one in keys if one.refuses]
    if refusing:
        full, names = table.full_name, [one.on(old) for one in refusing]
        meanwhile = [one.yielding() for one in refusing if one.writes]
        yield Step(
            key=f"swap/{full}/foreign keys",
            phase=Phase.SWAP,
            title="take off the old table the foreign keys that refuse what is done to parents",
            undo="nothing: the way back of the swap gives them back",
            action=SelfCommitting(
                table=full,
                forward=(
                    *own_indexes(old, table, [one.columns for one in refusing]),
                    UNCHECKED,
                    _drop(old, names, *(one.add(one.on(old), old, new=False) for one in meanwhile)),
                ),
                locks=exclusive(full),
                outlasts_prepared=True,
                done=_has_none(old, names),
            ),
        )


def before_swap_back(keys: Sequence[ForeignKey], old: str) -> tuple[str, ...]:
    """Return what gives the old table all its foreign keys again, whether it lacks them or not."""
    refusing = [one for one in keys if one.refuses]
    if not refusing:
        return ()
    dropped = [f"drop foreign key if exists {quote(one.yielding().on(old))}" for one in refusing if one.writes]
    added = [one.add(one.on(old), old, new=False, again=True) for one in refusing]
    return (UNCHECKED, _drop(old, (), *dropped, *added), _CHECKED)


def _named_after(table: Table, keys: Sequence[ForeignKey]) -> Iterator[Step]:
    full, other = table.full_name, [one for one in keys if one.name != one.on(table.name)]
    if not other and any(one.writes for one in keys):
        touched = tuple(
            f"alter table {quote(table.name)} rename index {quote(one.name)} to {quote(one.name)}, algorithm=instant,"
            " lock=none"
            for one in [one for one in table.indexes if not one.primary][:1]
        )
        yield Step(
            key=f"index/{full}/parents",
            phase=Phase.INDEX,
            title=f"wait for transactions that have written to parents of {full} before the new table had foreign keys",
            # They hold the table itself, too: once nobody does, all others meet the shadow. In one statement, where
            # an index can be called what it is called: who stands still under LOCK TABLES holds everybody up.
            action=SelfCommitting(
                table=full,
                forward=touched or (f"lock tables {quote(table.name)} write", UNLOCK),
                locks=exclusive(full),
                # Asked for between both of these, too: the step after this one waits.
                outlasts_prepared=bool(touched),
            ),
        )
    # Each by itself: where somebody drops one, the others have their names back all the same.
    for number, one in enumerate(other, 1):
        temporary = one.on(table.name)
        yield Step(
            key=f"index/{full}/name {number} of foreign keys",
            phase=Phase.INDEX,
            title=f"call {one.name} {temporary} until the contract, so that who writes to a parent locks the rows of"
            " both tables in one order",
            undo="give it its name back",
            action=SelfCommitting(
                table=full,
                forward=(
                    *own_indexes(table.name, table, [one.columns]),
                    UNCHECKED,
                    _drop(table.name, [one.name], one.add(temporary, table.name, new=False)),
                ),
                locks=exclusive(full),
                outlasts_prepared=True,
                inverse=(UNCHECKED, _drop(table.name, [temporary], one.add(one.name, table.name, new=False))),
                done=has(table.name, [temporary]),
            ),
        )


def before_drop(table: Table, keys: Sequence[ForeignKey], old: str) -> Iterator[Step]:
    """Yield what takes the foreign keys off the old table: from then on nobody holds it who writes to a parent."""
    if keys:
        names = [name for one in keys for name in dict.fromkeys((one.on(old), one.yielding().on(old)))]
        dropped = (f"drop foreign key if exists {quote(name)}" for name in names)
        yield Step(
            key=f"contract/{table.full_name}/foreign keys of the old table",
            phase=Phase.CONTRACT,
            title="drop the foreign keys of the old table",
            action=SelfCommitting(
                table=table.full_name,
                forward=(_drop(old, (), *dropped),),
                locks=exclusive(table.full_name),
                outlasts_prepared=True,
                done=_has_none(old, names),
            ),
        )


def after_drop(table: Table, keys: Sequence[ForeignKey]) -> Iterator[Step]:
    """Yield what gives the foreign keys their names back, each by itself: one that somebody has dropped stays away."""
    for number, one in enumerate((one for one in keys if one.name != one.on(table.name)), 1):
        temporary = one.on(table.name)
        yield Step(
            key=f"contract/{table.full_name}/name {number} of foreign keys",
            phase=Phase.CONTRACT,
            title=f"call {temporary} {one.name} again",
            action=SelfCommitting(
                table=table.full_name,
                forward=(UNCHECKED, _drop(table.name, [temporary], one.add(one.name, table.name, new=True))),
                locks=exclusive(table.full_name),
                outlasts_prepared=True,
                done=_has_none(table.name, [temporary]),
            ),
        )


def _drop(table: str, names: Sequence[str], *added: str) -> str:
    """Return the statement that drops some, and adds others in the same moment."""
    dropped = [f"drop foreign key {quote(name)}" for name in names]
    return f"alter table {quote(table)} {', '.join([*dropped, *added])}{AT_ONCE}"
