"""Operations of one spec that mean one thing together: each such sequence becomes what it comes to in the end.

Nothing here knows the database. What is put together is what the operations would come to one after the other, as
migrations of their own; where that is not certain, they are refused, with the reason. `up` and `down` keep their
sense: columns as they are today, and as they will be, under either name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.model.operations.alter_column import AlterColumn
from tasks.model.operations.base import Contradiction, Operation
from tasks.model.operations.conflicts import Numbered
from tasks.model.operations.create_constraint import CreateConstraint
from tasks.model.operations.create_index import CreateIndex
from tasks.model.operations.create_table import CreateTable
from tasks.model.operations.drop_column import DropColumn
from tasks.model.operations.drop_index import DropIndex
from tasks.model.operations.drop_table import DropTable
from tasks.model.operations.folding.columns import (
    take_alteration,
    take_constraint,
    take_drop,
    take_rename,
    unnamed_since,
)
from tasks.model.operations.folding.entries import ApartError, Entry, Operations
from tasks.model.operations.folding.names import with_tables
from tasks.model.operations.folding.names_within import mentions
from tasks.model.operations.folding.reading import read_before
from tasks.model.operations.folding.tables import WHOLE, index_by, index_uses, part_of_table, remade, texts_of_table
from tasks.model.operations.folding.texts import by_last_names
from tasks.model.operations.rename_column import RenameColumn
from tasks.model.operations.rename_table import RenameTable
from tasks.model.operations.sql import Sql


@dataclass(frozen=True, kw_only=True)
class Folding:
    """What a spec comes to."""

    operations: Numbered
    """What is carried out, each with the number of the operation that asked for it."""
    notes: tuple[str, ...]
    """What was put together, a sentence each."""
    read_before: tuple[str, ...]
    """Whose `up`, or `down`, does not read what another operation makes of a column, a sentence each."""
    contradictions: tuple[Contradiction, ...]
    places: Mapping[str, str]
    """Where an author wrote what stands in a place of what is carried out, if that is somewhere else."""

    def written_at(self, where: str) -> str:
        """Return where the author wrote what stands in a place of what is carried out."""
        parts = [key for key in self.places if where == key or where.startswith(f"{key}.")]
        longest = max(parts, key=len, default="")
        return self.places[longest] + where.removeprefix(longest) if longest else where


def fold(operations: Sequence[Operation]) -> Folding:
    """Put together what means one thing."""
    step = _Fold()
    found: list[Contradiction] = []
    for number, op in enumerate(operations):
        step.done.kinds[number] = op.kind
        try:
            step.take(number, op)
        except ApartError as error:
            found.append(Contradiction(at=("operations", number, op.kind), reason=error.reason, hint=error.hint))
    done = step.done
    renamed = {first: now for now, first in step.first.items()}
    for entry in done.entries:
        entry.operation = by_last_names(entry.operation, done, renamed)
    for entry in done.entries:
        found += _beside(done, entry, operations)
    if not done.entries and operations and not found:
        last = len(operations) - 1
        reason = "one takes back the other, and nothing is left to do"
        hint = "Remove both."
        found.append(Contradiction(at=("operations", last, operations[last].kind), reason=reason, hint=hint))
    return Folding(
        operations=tuple((entry.number, entry.operation) for entry in done.entries),
        notes=tuple(done.notes),
        read_before=tuple(read_before(operations)),
        contradictions=tuple(found),
        places={f"{done.name(e.number)}.{key}": place for e in done.entries for key, place in e.said.items()},
    )


def _beside(done: Operations, renaming: Entry, asked: Sequence[Operation]) -> Iterator[Contradiction]:
    """Say what is planned on a table together with its other name; refuse statements that may need the name before."""
    if not isinstance(renaming.operation, RenameTable):
        return
    around = done.of_table(renaming.operation.from_)
    others = dict.fromkeys(done.name(one.number) for one in around if one is not renaming)
    if not others:
        return
    done.note(renaming.number, f"takes effect together with {', '.join(others)}")
    for number, op in enumerate(asked):
        if isinstance(op, Sql) and number > renaming.number:
            yield Contradiction(
                at=("operations", number, op.kind),
                reason=f"beside other operations the name of {done.name(renaming.number)} is that of a view until the"
                " very end, and these statements may need the table",
                hint="Put the statements, or the new name, into a migration of its own.",
            )


class _Fold:
    """The operations so far."""

    def __init__(self) -> None:
        self.done = Operations()
        self.first: dict[str, str] = {}
        """Of a table with another name by now, the one that it has in the database."""

    def take(self, number: int, op: Operation) -> None:
        """Take one more operation."""
        self._gone(op)
        op = with_tables(op, self.first)
        if isinstance(op, Sql):
            # Those that run on completion, too: what they need is not there if it was put together with what follows.
            self.done.statements = number
        made = next((self._made(name) for name in op.tables if self._made(name) is not None), None)
        if made is not None and not isinstance(op, CreateTable):
            self._of_new_table(made, number, op)
        elif isinstance(op, RenameTable):
            self._rename_table(number, op)
        elif isinstance(op, DropTable):
            self._drop_table(number, op)
        elif isinstance(op, DropIndex):
            self._drop_index(number, op)
        elif isinstance(op, RenameColumn):
            take_rename(self.done, number, op)
        elif isinstance(op, DropColumn):
            take_drop(self.done, number, op)
        elif isinstance(op, AlterColumn):
            take_alteration(self.done, number, op)
        elif isinstance(op, CreateConstraint):
            take_constraint(self.done, number, op)
        else:
            self.done.add(number, op)

    def _gone(self, op: Operation) -> None:
        """Refuse the name of a table that it no longer has by then."""
        for now, first in self.first.items():
            if first in (*op.tables, *op.referenced):
                entry = self._renaming(first)
                by = self.done.name(entry.number) if entry is not None else "another operation"
                if isinstance(op, CreateTable) and op.name == first:
                    raise ApartError(
                        f"until contract the table that {by} gives another name keeps this one",
                        "Choose another name, or give it in a later migration.",
                    )
                raise ApartError(f"{by} gives the table {first!r} the name {now!r}", f"Write {now!r}.")

    def _made(self, name: str) -> Entry | None:
        return next(
            (e for e in self.done.entries if isinstance(e.operation, CreateTable) and e.operation.name == name), None
        )

    def _renaming(self, first: str) -> Entry | None:
        return next(
            (e for e in self.done.entries if isinstance(e.operation, RenameTable) and e.operation.from_ == first), None
        )

    def _of_new_table(self, made: Entry, number: int, op: Operation) -> None:
        done, table = self.done, made.operation
        assert isinstance(table, CreateTable)
        done.one_after_the_other(made.number, number)
        if isinstance(op, CreateIndex):
            done.add(number, op)
            return
        if isinstance(op, DropTable):
            self._unmake(made, number)
            return
        if isinstance(op, RenameTable):
            self._rename_new(made, table, op)
        else:
            self._follow(table, op)
            made.operation = part_of_table(table, op)
        done.note(number, f"is part of {done.name(made.number)}")

    def _follow(self, table: CreateTable, op: Operation) -> None:
        """Let indexes and foreign keys of the spec follow a column of a new table."""
        for entry in self.done.of_table(table.name):
            other = entry.operation
            gone = isinstance(op, DropColumn) and isinstance(other, CreateIndex) and index_uses(other, op.column)
            changed = op.column if isinstance(op, DropColumn) else op.from_ if isinstance(op, RenameColumn) else None
            foreign = table.name in other.referenced and table.name not in other.tables
            if gone or (changed is not None and foreign):
                raise ApartError(
                    f"{self.done.name(entry.number)} may use the column {changed!r}, as it was called by then", WHOLE
                )
            if isinstance(op, RenameColumn) and isinstance(other, CreateIndex):
                entry.operation = index_by(other, {op.from_: op.to})

    def _unmake(self, made: Entry, number: int) -> None:
        table = made.operation.tables[0]
        for entry in self.done.of_table(table):
            if table in entry.operation.referenced and table not in entry.operation.tables:
                raise ApartError(
                    f"{self.done.name(entry.number)} refers to the table {table!r}, which is made and dropped",
                    "Remove the foreign key, or let the table stay.",
                )
        self.done.remove(*(e for e in self.done.entries if table in e.operation.tables))
        self.done.note(number, f"takes back {self.done.name(made.number)}: nothing is left of both")

    def _rename_new(self, made: Entry, table: CreateTable, op: RenameTable) -> None:
        schema, dot, _ = table.name.rpartition(".")
        new = f"{schema}{dot}{op.to}"
        for entry in list(self.done.of_table(table.name)):
            entry.operation = with_tables(entry.operation, {table.name: new})
        assert isinstance(made.operation, CreateTable)
        made.operation = remade(made.operation, name=new)
        self._unnamed(table.name, made.operation)

    def _unnamed(self, name: str, made: CreateTable | None = None) -> None:
        """Refuse to forget a name that a table had only in between, where an expression may mean the table by it."""
        bare = name.rpartition(".")[2]
        for entry in self.done.entries:
            unnamed_since(self.done, entry, bare)
        if made is not None and any(mentions(text, bare) for text in texts_of_table(made)):
            raise ApartError(f"a condition of the new table may name it {bare!r}", WHOLE)

    def _rename_table(self, number: int, op: RenameTable) -> None:
        before = self._renaming(op.from_)
        schema, dot, _ = op.from_.rpartition(".")
        self.first = {now: first for now, first in self.first.items() if first != op.from_}
        if before is None:
            self.done.add(number, op)
        else:
            self.done.one_after_the_other(before.number, number)
            assert isinstance(before.operation, RenameTable)
            self._unnamed(before.operation.to)
            if f"{schema}{dot}{op.to}" == op.from_:
                self.done.remove(before)
                self.done.note(number, f"takes back {self.done.name(before.number)}: nothing is left of both")
                return
            before.operation = op
            self.done.note(number, f"is part of {self.done.name(before.number)}")
        self.first[f"{schema}{dot}{op.to}"] = op.from_

    def _drop_table(self, number: int, op: DropTable) -> None:
        before = self._renaming(op.name)
        if before is not None:
            self.done.one_after_the_other(before.number, number)
            self.done.remove(before)
            self.done.note(number, f"takes the place of {self.done.name(before.number)}")
        self.done.add(number, op)

    def _drop_index(self, number: int, op: DropIndex) -> None:
        for entry in self.done.entries:
            made = entry.operation
            if not isinstance(made, CreateIndex):
                continue
            if "." not in op.name and "." in made.table and op.name == made.name:
                raise ApartError(
                    f"whether this is the index of {self.done.name(entry.number)} depends on the search path",
                    f"Write {_with_schema(made)!r}, or give the new index another name.",
                )
            if op.name == _with_schema(made):
                self.done.one_after_the_other(entry.number, number)
                self.done.remove(entry)
                self.done.note(number, f"takes back {self.done.name(entry.number)}: nothing is left of both")
                return
        self.done.add(number, op)


def _with_schema(index: CreateIndex) -> str:
    schema, dot, _ = index.table.rpartition(".")
    return f"{schema}{dot}{index.name}"
