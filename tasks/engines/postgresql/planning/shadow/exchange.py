"""The moment in which two tables change places, as statements, in both directions.

All that belongs to the table as applications know it goes from one to the other: name, sequences, foreign keys in both
directions, triggers, policies, rules, views, publications. What is expensive (rows, indexes, checks) is there already.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.engines.postgresql.blockers import Connection
from tasks.engines.postgresql.planning.attached.belongings import quote_qualified, sequence_grants
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.shadow.build import comment_on
from tasks.engines.postgresql.planning.shadow.partitions import move
from tasks.engines.postgresql.planning.shadow.places import Places, printed
from tasks.model.catalogue import Column, Constraint, OwnedSequence, Table, Trigger
from tasks.model.names import quote
from tasks.model.steps import Lock, LockMode

_ENABLE = {"always": "enable always", "replica": "enable replica", "origin": "enable", "disabled": "disable"}


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One direction of the exchange."""

    conn: Connection
    places: Places
    leaving: Table
    """The table that applications use now."""
    coming: Table
    """The record of the one that they shall use, as it is in its place."""
    away: str
    """The schema where the one goes."""
    waits: str
    """The schema where the other is."""
    leaving_parts: Sequence[str] = ()
    """Names of the partitions of the one."""
    coming_parts: Sequence[str] = ()
    """Names of the partitions of the other."""
    fresh: bool
    """The coming table has never had triggers, policies and rules; otherwise they are there, switched off."""

    def statements(self) -> Iterator[str]:
        """Yield the statements, in order. Both tables are locked before."""
        yield from self._detach()
        yield f"alter table {self.real} set schema {quote(self.away)}"
        yield from move(self.leaving_parts, self.places.schema, self.away)
        yield from self._statistics(self.places.schema, self.away)
        yield f"alter table {self.places.at(self.waits)} set schema {quote(self.places.schema)}"
        yield from move(self.coming_parts, self.waits, self.places.schema)
        yield from self._statistics(self.waits, self.places.schema)
        yield from self._attach()

    @property
    def real(self) -> str:
        """The place that the two fight for."""
        return self.places.real

    def _detach(self) -> Iterator[str]:
        for key in self.leaving.inbound:
            if key.table != self.leaving.full_name:
                yield f"alter table {quote_qualified(key.table)} drop constraint {quote(key.name)}"
        for constraint in _foreign_keys(self.leaving):
            yield f"alter table {self.real} drop constraint {quote(constraint.name)}"
        for trigger in self.leaving.triggers:
            if trigger.enabled != "disabled":
                yield f"alter table {self.real} disable trigger {quote(trigger.name)}"
        for rule in _rules(self.leaving):
            yield f"alter table {self.real} disable rule {quote(rule)}"
        for sequence in self.leaving.sequences:
            if not sequence.identity:
                yield f"alter sequence {quote_qualified(sequence.name)} owned by none"
                if _default(self.leaving, sequence.column) is not None:
                    yield f"alter table {self.real} alter column {quote(sequence.column)} drop default"
        for name in publications(self.conn, self.leaving, self.places):
            yield f"alter publication {quote(name)} drop table {self.real}"

    def _attach(self) -> Iterator[str]:
        for sequence in self.coming.sequences:
            yield from self._identity(sequence) if sequence.identity else self._serial(sequence)
        yield from self._foreign_keys()
        yield from self._policies()
        yield from self._triggers()
        yield from self._dependents()
        for name, (words, _) in publications(self.conn, self.leaving, self.places).items():
            yield f"alter publication {quote(name)} add table {self.real}{words}"

    def _statistics(self, before: str, after: str) -> Iterator[str]:
        for one in self.leaving.dependents:
            if one.kind == "statistics":
                name = one.name.rpartition(".")[2]
                yield f"alter statistics {quote(before)}.{quote(name)} set schema {quote(after)}"

    def _serial(self, sequence: OwnedSequence) -> Iterator[str]:
        owned, column = quote_qualified(sequence.name), quote(sequence.column)
        before = next(s for s in self.leaving.sequences if s.name == sequence.name)
        now, then = _type(before), _type(sequence)
        if now != then:
            yield f"alter sequence {owned} as {then}"
        yield f"alter sequence {owned} owned by {self.real}.{column}"
        default = _default(self.coming, sequence.column)
        if default is not None:
            yield f"alter table {self.real} alter column {column} set default {default}"

    def _identity(self, sequence: OwnedSequence) -> Iterator[str]:
        """An identity cannot change its table: end it on one and begin it on the other, at the same position."""
        owned = quote_qualified(sequence.name)
        away = f"{quote(self.away)}.{quote(sequence.name.rpartition('.')[2])}"
        column = self.coming.column(sequence.column)
        assert column is not None
        _, _, options = sequence.definition.split(" ", 2)
        grants = " ".join(f"{statement};" for statement in sequence_grants(owned, sequence.grants))
        comment = f"comment on sequence {owned} is {literal(sequence.comment)};" if sequence.comment is not None else ""
        yield f"""\
do $identity$
declare
  position bigint;
  called boolean;
begin
  -- It is locked since its table moved: nobody draws a number between reading the position and setting it.
  select last_value, is_called into position, called from {away};
  alter table {self.places.at(self.away)} alter column {quote(sequence.column)} drop identity;
  alter table {self.real} alter column {quote(sequence.column)} add generated {column.identity} as identity
    (sequence name {owned} {options});
  perform pg_catalog.setval({literal(owned)}, position, called);
  {grants}
  {comment}
end
$identity$"""

    def _foreign_keys(self) -> Iterator[str]:
        for constraint in _foreign_keys(self.coming):
            yield _unvalidated(self.real, constraint.name, constraint.definition)
            if constraint.comment is not None:
                yield comment_on(self.real, constraint)
        for key in self.coming.inbound:
            if key.table == self.coming.full_name:
                continue
            child = quote_qualified(key.table)
            yield _unvalidated(child, key.name, key.definition)
            if key.comment is not None:
                yield f"comment on constraint {quote(key.name)} on {child} is {literal(key.comment)}"

    def _policies(self) -> Iterator[str]:
        if not self.fresh:
            return
        for policy in self.coming.policies:
            yield f"create policy {quote(policy.name)} on {self.real} {policy.definition}"
            if policy.comment is not None:
                yield f"comment on policy {quote(policy.name)} on {self.real} is {literal(policy.comment)}"
        if self.coming.row_security:
            yield f"alter table {self.real} enable row level security"
        if self.coming.force_row_security:
            yield f"alter table {self.real} force row level security"

    def _triggers(self) -> Iterator[str]:
        for trigger in self.coming.triggers:
            if self.fresh:
                yield trigger.definition
                if trigger.comment is not None:
                    yield f"comment on trigger {quote(trigger.name)} on {self.real} is {literal(trigger.comment)}"
            yield from self._state(trigger)

    def _state(self, trigger: Trigger) -> Iterator[str]:
        if trigger.enabled != "origin" or not self.fresh:
            yield f"alter table {self.real} {_ENABLE[trigger.enabled]} trigger {quote(trigger.name)}"

    def _dependents(self) -> Iterator[str]:
        own = _rules(self.coming)
        for one in self.coming.dependents:
            if one.through:
                continue
            if one.kind == "view":
                yield "create or replace view" + one.definition.removeprefix("create view")
            elif one.kind == "rule":
                name = one.name.rpartition(".")[2]
                if name in own and not self.fresh:
                    yield f"alter table {self.real} enable rule {quote(name)}"
                else:
                    yield one.definition.replace("CREATE RULE", "CREATE OR REPLACE RULE", 1)
            elif one.kind == "function":
                yield one.definition


def publications(conn: Connection, table: Table, places: Places) -> dict[str, tuple[str, str]]:
    """Return what each publication that names the table says of it, after its name, and which writes it sends."""
    found = {}
    here = re.escape(printed(conn, places.schema, places.name))
    pattern = rf"for table {here}(.*?)(?:, for tables in schema [^()]*)?, publishing([a-z ]*)[a-z ,]*$"
    for one in table.dependents:
        said = re.search(pattern, one.definition, re.DOTALL) if one.kind == "publication" else None
        if said is not None:
            found[one.name] = (said[1], ", ".join(said[2].split()))
    return found


def _foreign_keys(table: Table) -> list[Constraint]:
    return [c for c in table.constraints if c.kind == "foreign key"]


def _rules(table: Table) -> list[str]:
    """Names of the rules on the table itself."""
    prefix = f"{table.full_name}."
    return [d.name[len(prefix) :] for d in table.dependents if d.kind == "rule" and d.name.startswith(prefix)]


def _default(table: Table, name: str) -> str | None:
    column: Column | None = table.column(name)
    return column.default if column is not None else None


def _type(sequence: OwnedSequence) -> str:
    return sequence.definition.split(" ", 2)[1]


def _unvalidated(table: str, name: str, definition: str) -> str:
    bare = definition.removesuffix(" NOT VALID")
    return f"alter table {table} add constraint {quote(name)} {bare} not valid"


def validations(table: Table, places: Places) -> Iterator[tuple[str, str, str]]:
    """Yield table, name and statement for every foreign key that was valid, and has to be so again."""
    for constraint in _foreign_keys(table):
        if constraint.validated:
            yield (
                table.full_name,
                constraint.name,
                f"alter table {places.real} validate constraint {quote(constraint.name)}",
            )
    for key in table.inbound:
        if key.validated and key.table != table.full_name:
            child = quote_qualified(key.table)
            yield key.table, key.name, f"alter table {child} validate constraint {quote(key.name)}"


def neighbours(table: Table) -> Sequence[Lock]:
    """Return the locks on tables at the other end of foreign keys: dropping one takes the hardest lock there."""
    ends = {key.table for key in table.inbound} | {c.referenced_table for c in _foreign_keys(table)}
    names = sorted(name for name in ends if name is not None and name != table.full_name)
    return [Lock(table=quote_qualified(name), mode=LockMode.ACCESS_EXCLUSIVE) for name in names]


def referred(table: Table) -> Sequence[Lock]:
    """Return the locks on tables that foreign keys of the table refer to: adding one lets readers there go on."""
    names = sorted({c.referenced_table or "" for c in _foreign_keys(table)} - {table.full_name})
    return [Lock(table=quote_qualified(name), mode=LockMode.SHARE_ROW_EXCLUSIVE) for name in names]
