"""What makes a row of one table the image of a row of another: the statements that put it there, and take it away.

They do not write what they are called with. They read the row by its key as it is now, so that the last word is the
row itself, whatever has been done to it in whatever order.
"""

from dataclasses import dataclass

from tasks.engines.postgresql.planning.dual_write import PINNED, literal
from tasks.engines.postgresql.planning.shadow.followed import Followed
from tasks.model.names import quote
from tasks.model.plan import differing
from tasks.model.steps import Assignment

ITSELF = "428C9"
"""generated_always: what PostgreSQL itself says of a value that a column shall not be given."""


@dataclass(frozen=True, kw_only=True)
class Image(Followed):
    """One direction: every row of `source` stands in `target`, under the same key."""

    target: str
    """Quoted and qualified, like `aside`."""
    aside: str
    """A table of rows of the target that make room there for others, until they are put back."""
    alias: str
    search_path: str
    key: tuple[str, ...]
    arbiter: tuple[str, ...]
    """Those columns of the key that the target keeps unique: all of them, unless one table is told by fewer."""
    source_types: tuple[str, ...]
    """Of the columns of the key, like `target_types`."""
    target_types: tuple[str, ...]
    assignments: tuple[Assignment, ...]
    pinned: bool
    kept: tuple[str, ...] = ()
    """Columns of the target that nothing fills from the source: a row that is put back has in them what it had."""
    computed: tuple[str, ...] = ()
    """Columns that the target computes and the source does not: another value than that cannot be carried."""

    def settings(self) -> str:
        """Return the settings of a function that evaluates the expressions."""
        path = f"set search_path = {self.search_path}, pg_temp set row_security = off"
        pinned = [f"set {name} = {literal(value)}" for name, value in PINNED.items()] if self.pinned else []
        return " ".join([path, *pinned])

    def same(self, left: str, right: str) -> str:
        """Two rows of the source have the same key."""
        return " and ".join(f"{left}.{quote(c)} = {right}.{quote(c)}" for c in self.key)

    def its_image(self, row: str, image: str = "b") -> str:
        """A row of the target, or one put aside, has the key of a row of the source."""
        return " and ".join(
            f"{image}.{quote(c)} = ({row}.{quote(c)})::{t}" for c, t in zip(self.key, self.target_types, strict=True)
        )

    def _come_back(self, row: str) -> list[tuple[str, str]]:
        """The columns of a key, and what they are once they have been of the target's type.

        Where that is something else, the image is not this row's: another one has it, or can.
        """
        return [
            (quote(c), f"{row}.{quote(c)}" if t == s else f"(({row}.{quote(c)})::{t})::{s}")
            for c, s, t in zip(self.key, self.source_types, self.target_types, strict=True)
        ]

    def remove(self, row: str) -> str:
        """Return the statement that takes the image away, unless a row has it."""
        owner = " and ".join(f"a.{c} = {value}" for c, value in self._come_back(row))
        return (
            f"delete from {self.target} as b where {self.its_image(row)}"
            f" and not exists (select from {self.source} as a where {owner})"
        )

    def forget(self, row: str) -> str:
        """Return the statement that drops what was put aside of a row."""
        return f"delete from {self.aside} as b where {self.its_image(row)}"

    def put(self, row: str) -> str:
        """Return the statement, without its end, that makes the image what the row says, if there is one.

        A row that was put aside comes back with what only the target has.
        """
        if not self.kept:
            return self._put(row, {})
        kept = {c: f"(select b.{quote(c)} from {self.aside} as b where {self.its_image(row)})" for c in self.kept}
        return f"""\
if exists (select from {self.aside} as b where {self.its_image(row)}) then
        {self._put(row, kept)};
      else
        {self._put(row, {})};
      end if"""

    def _refuse_another(self, row: str) -> str:
        """A value of the key that the other type would round, or cut, is no row of the other table."""
        if self.source_types == self.target_types:
            return ""
        same = " and ".join(f"{row}.{c} = {value}" for c, value in self._come_back(row))
        return f"""\
if ({same}) is not true then
        if exists (select from {self.source} as a where {self.same("a", row)}) then
          raise exception 'the key is another one in the other table' using errcode = 'data_exception';
        end if;
      end if;
      """

    def _put(self, row: str, kept: dict[str, str]) -> str:
        columns = ", ".join(quote(c) for c in (*(a.column for a in self.assignments), *kept))
        values = ", ".join([*(f"({a.expression}\n)" for a in self.assignments), *kept.values()])
        arbiter = ", ".join(quote(c) for c in self.arbiter)
        others = [quote(c) for c in self.key if c not in self.arbiter]
        same = " and ".join(f"b.{name} = excluded.{name}" for name in others)
        found = f"select from {self.source} as a where {self.same('a', row)}"
        # Another row of the source, which may have both, has this one's place in the target.
        refused = f"""
;
      if not found and exists ({found}) then
        raise exception 'the other table has another row of this key' using errcode = 'unique_violation';
      end if"""
        changes = ", ".join(f"{quote(a.column)} = excluded.{quote(a.column)}" for a in self.assignments)
        return (
            f"{self._refuse_another(row)}insert into {self.target} as b ({columns}) overriding system value"
            f" select {values} from (select * from {self.source} as a where {self.same('a', row)})"
            f" as {quote(self.alias)}"
            f" on conflict ({arbiter}) do update set {changes}{f' where {same}{refused}' if others else ''}"
            f"{self._differs(row)}"
        )

    def _differs(self, row: str) -> str:
        """Note, for a rollback, that the row has a value which is not what the target computes."""
        if not self.computed:
            return ""
        given, computed = (", ".join(f"{one}.{quote(c)}" for c in self.computed) for one in "ab")
        return (
            ";\n      insert into changeover.rejections (migration, table_name, direction, sqlstate)"
            f" select {literal(self.migration)}, {literal(self.full_name)}, '{self.direction}', '{ITSELF}'"
            f" from {self.source} as a, {self.target} as b where {self.same('a', row)} and {self.its_image(row)}"
            f" and {differing(given, computed, exact=True)}"
        )

    def rejected(self) -> str:
        """Before the swap the notes are enough: the gate asks for them. After it, a rollback asks for rejections."""
        if self.direction == "up":
            return ""
        return f"""
    insert into changeover.rejections (migration, table_name, direction, sqlstate)
    values ({literal(self.migration)}, {literal(self.full_name)}, 'down', sqlstate);"""
