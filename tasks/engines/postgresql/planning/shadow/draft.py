"""All that a plan by shadow table is made of, before it is a list of steps."""

from dataclasses import dataclass
from functools import cached_property

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.copy import WHOLE_NUMBERS
from tasks.engines.postgresql.planning.keys import demand
from tasks.engines.postgresql.planning.shadow.change import Change
from tasks.engines.postgresql.planning.shadow.mirror import Mirror
from tasks.engines.postgresql.planning.shadow.obstacles import RowKey
from tasks.engines.postgresql.planning.shadow.partitions import Partition
from tasks.engines.postgresql.planning.shadow.places import Places
from tasks.model.catalogue import Table
from tasks.model.spec import MigrationSpec
from tasks.model.steps import Assignment


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All that is known of a table, its shadow, and what fills them."""

    conn: Connection
    spec: MigrationSpec
    places: Places
    table: Table
    new: Table
    """As it shall be in its place."""
    change: Change
    row_key: RowKey
    parts: tuple[Partition, ...]
    """The partitions of the table."""
    new_parts: tuple[Partition, ...]
    options: tuple[str, ...]
    """Storage parameters of the new partitions."""
    search_path: str
    forth: tuple[Assignment, ...]
    back: tuple[Assignment, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which a row is known, in the order of the table."""
        return self.row_key.columns

    @property
    def shadow(self) -> str:
        """The shadow before the swap, quoted and qualified."""
        return self.places.at(self.places.new)

    @property
    def former(self) -> str:
        """The old table after the swap, quoted and qualified."""
        return self.places.at(self.places.old)

    @cached_property
    def up(self) -> Mirror:
        """What keeps the shadow the image of the table."""
        return self._mirror("up", self.shadow, self.places.new, self.forth, self.new)

    @cached_property
    def down(self) -> Mirror:
        """What keeps the old table the image of the new one."""
        return self._mirror("down", self.former, self.places.old, self.back, self.table)

    def _mirror(
        self, direction: str, target: str, schema: str, assignments: tuple[Assignment, ...], image: Table
    ) -> Mirror:
        # Never the table itself: to ask PostgreSQL, an index is made.
        twin = self.change.rehearsal
        source = twin.old if direction == "up" else self.change.twin
        immediate = tuple(c.name for c in image.constraints if c.deferrable and c.kind != "foreign key")
        written, row_key = (self.table, self.row_key.new_index) if direction == "up" else (self.new, self.row_key.index)
        return Mirror(
            tag=self.places.tag,
            direction=direction,
            migration=self.spec.migration,
            full_name=self.table.full_name,
            source=self.places.real,
            target=target,
            notes=self.places.notes(schema),
            carried=self.places.carried(schema),
            aside=self.places.aside(schema),
            alias=self.table.name,
            search_path=self.search_path,
            key=self.key,
            arbiter=self.row_key.new_unique if direction == "up" else self.row_key.unique,
            parts=tuple(part.name for part in (self.parts if direction == "up" else self.new_parts)),
            schema=self.places.schema,
            source_types=self.types(self.table if direction == "up" else self.new),
            target_types=self.types(image),
            assignments=assignments,
            guarded=self._may_refuse(image, there=direction == "up"),
            immediate=immediate,
            # What is checked at once here may not be where applications write: there nobody waits before the commit.
            impatient=bool(immediate) or self._meets_others(written, image, row_key.name),
            mended=bool(immediate) or any(c.deferrable and c.kind != "foreign key" for c in written.constraints),
            kept=self._kept(image) if direction == "down" else (),
            # With the cast that an assignment makes by itself.
            pinned=not all(twin.is_immutable(source, f"({a.expression}\n)::{a.type}") for a in assignments),
            computed=tuple(c for c in self.change.written if direction == "down" and c not in self.change.lossy),
        )

    def _meets_others(self, written: Table, image: Table, row_key: str) -> bool:
        """Rows that are strangers where applications write them can be kept apart, by a key, in the other table."""
        change, known = self.change, {demand(written, one) for one in written.indexes}
        moving = {*change.ups, *change.downs, *change.altered, *change.computed, *change.written}
        excluding = {c.name for c in image.constraints if c.kind == "exclusion"}
        return any(
            demand(image, i) not in known or {*i.referenced} & moving
            for i in image.indexes
            if (i.unique or i.constraint in excluding) and i.name != row_key
        )

    def _kept(self, target: Table) -> tuple[str, ...]:
        """What nothing fills on the way back: a column that was dropped without `down`."""
        filled = {a.column for a in self.back}
        return tuple(c.name for c in target.columns if c.generated is None and c.name not in filled)

    def types(self, table: Table) -> tuple[str, ...]:
        """Types of the key columns in one of the two tables."""
        types = {column.name: column.type for column in table.columns}
        return tuple(types[column] for column in self.key)

    @property
    def aligned(self) -> bool:
        """Whether both tables have the key in the same order, and the same values of it.

        Whole numbers of any width are ordered alike, and joined by their indexes. Another type, or another collation,
        may have another order, and find equal what was not.
        """
        if self.row_key.unique != self.row_key.new_unique:
            return False
        old, new = ({c.name: c for c in one.columns} for one in (self.table, self.new))
        return all(
            old[c].collation == new[c].collation
            and (old[c].type == new[c].type or {old[c].type, new[c].type} <= WHOLE_NUMBERS)
            for c in self.key
        )

    def _may_refuse(self, target: Table, *, there: bool) -> bool:
        """A key beside that of the walk may meet a row that is only noted; a conversion, or a new rule, may refuse.

        So may an index, and what is computed: an expression fails, or its value is too large.
        """
        keys = [i for i in target.indexes if i.unique] + [c for c in target.constraints if c.kind == "exclusion"]
        change = self.change
        evaluated = change.indexes or change.computed if there else change.written
        if len(keys) > 1 or change.restricted or change.dropped or change.added or evaluated:
            return True
        return any(not there or not change.widens(name, self.new) for name in change.altered)
