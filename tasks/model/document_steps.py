"""Steps that change the documents of a collection of MongoDB where they are.

Expressions and commands are extended JSON, so that a plan is text whatever they hold.
"""

from typing import Literal

from tasks.model.base import Record


class FieldPair(Record):
    """A field of the old shape and one of the new, or several of either, each side kept in step with the other."""

    name: str
    """What it is called in the marker of a document."""
    olds: tuple[tuple[str, ...], ...] = ()
    """The paths that the old application knows; empty: there is none, and nothing is carried back."""
    news: tuple[tuple[str, ...], ...]
    """Several of a side are names without dots, and one document as its value."""
    watched: str
    """An expression that changes when the old application has written what `up` reads."""
    up: str
    """What the new field becomes."""
    down: str = ""
    """What the old field becomes; empty: nothing is carried back."""
    unfit: str = ""
    """An expression that is true where the old value cannot become a new one; empty: every value can."""
    unfit_down: str = ""
    """The same of a new value that cannot become an old one."""
    policy: Literal["fail", "null", "dead_letter"] = "fail"
    """What becomes of a document with such a value: see `ChangeType`."""

    @property
    def old(self) -> str:
        """The old side, for people; empty: there is none."""
        return ", ".join(map(".".join, self.olds))

    @property
    def new(self) -> str:
        """The new side, for people."""
        return ", ".join(map(".".join, self.news))


class Reshape(Record):
    """What is done to the documents of one collection; each does it alone, by an update that reads it itself.

    So an update may be repeated, come late, or meet another one: it always makes of the document, as it is by then,
    what it has to be.
    """

    kind: Literal["reshape"] = "reshape"
    table: str
    """`database.collection`: what the run holds, and what its progress is told of."""
    collection: str
    marker: str
    """The field of ours, in each document, that says what both shapes were when they were last brought into step."""
    pairs: tuple[FieldPair, ...]
    removed: tuple[tuple[str, ...], ...] = ()
    """Paths that go with the contract."""
    dead_letters: str = ""
    """The collection that keeps old values which could not become new ones; empty: there are none."""
    does: Literal["follow", "fill", "swap", "contract"]

    @property
    def gone(self) -> tuple[tuple[str, ...], ...]:
        """The paths that no document has after the contract."""
        return (*(path for pair in self.pairs for path in pair.olds), *self.removed)

    @property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Every path of the old and of the new shape."""
        return (*(path for pair in self.pairs for path in (*pair.olds, *pair.news)), *self.removed)

    @property
    def news(self) -> tuple[tuple[str, ...], ...]:
        """Every path of the new shape."""
        return tuple(path for pair in self.pairs for path in pair.news)

    @property
    def refused(self) -> str:
        """The collection that names documents which the server refuses to change on the way back."""
        return f"{self.marker}_refused"

    @property
    def follow_key(self) -> str:
        """The key of the step from which on both shapes are kept in step, in both directions."""
        return f"dual_write/{self.table}/follow"


class Rebuild(Record):
    """The documents of one collection, made anew in another one that takes its name.

    Two collections are filled beside it: the new one, and a second one with the documents as they are. The server drops
    what the new one replaces, so the second one is the way back.
    """

    kind: Literal["rebuild"] = "rebuild"
    table: str
    """`database.collection`: what the run holds, and what its progress is told of."""
    collection: str
    uuid: str
    """Of the collection that was there before, in hexadecimal digits."""
    marker: str
    """What the names of our collections begin with."""
    up: str
    """Stages that make a new document of an old one."""
    down: str
    """Stages that make an old document of a new one."""
    options: str
    """Of the new collection."""
    kept_options: str
    """Of the old one."""
    indexes: str
    kept_indexes: str
    does: Literal["create", "follow", "fill", "index", "swap", "contract"]

    @property
    def new(self) -> str:
        """What the names of the new collection begin with, until it is in its place; no migration has a dot."""
        return f"{self.marker}.new"

    @property
    def kept(self) -> str:
        """The same of the collection that holds the documents of the old shape."""
        return f"{self.marker}.old"

    @property
    def notes(self) -> str:
        """The collection that holds the position in the change stream."""
        return f"{self.marker}.notes"

    @property
    def follow_key(self) -> str:
        """The key of the step from which on the change stream is followed."""
        return f"dual_write/{self.table}/follow"


class CollectionCommand(Record):
    """A command that changes a collection or its indexes, forward and back. It may be given again."""

    kind: Literal["collection_command"] = "collection_command"
    table: str
    collection: str
    forward: str = ""
    inverse: str = ""
    long: bool = False
    """It works through the documents, without keeping anybody from writing."""
