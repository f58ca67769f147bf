"""set_replica_identity: how the rows of a table are known to those that replicate them."""

from collections.abc import Iterator
from typing import ClassVar, Literal

from tasks.model.names import Identifier, TableName
from tasks.model.operations.base import Contradiction, Operation, Part


class ReplicaIdentity(Part):
    """What of the old row is logged when a row is updated or deleted."""

    type: Literal["nothing", "default", "index", "full"]
    """`default` is the primary key."""
    index: Identifier | None = None
    """For `index`: a unique one whose columns are never NULL."""

    def contradictions(self) -> Iterator[Contradiction]:
        """Refuse an index without its type, and the type without an index."""
        if self.type == "index" and self.index is None:
            yield Contradiction(at=("type",), reason="which index is not said", hint="Add index, with its name.")
        if self.type != "index" and self.index is not None:
            yield Contradiction(
                at=("index",),
                reason=f"a replica identity of type {self.type} has no index",
                hint="Remove index, or write type: index.",
            )


class SetReplicaIdentity(Operation):
    """Set the replica identity of a table, at the swap."""

    kind: ClassVar[str] = "set_replica_identity"

    table: TableName
    identity: ReplicaIdentity

    @property
    def tables(self) -> tuple[str, ...]:
        """Return the table."""
        return (self.table,)

    def settles(self) -> Iterator[str]:
        """Decide the replica identity."""
        yield f"the replica identity of {self.table!r}"
