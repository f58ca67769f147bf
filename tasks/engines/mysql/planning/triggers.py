"""Dual write by AFTER triggers, in both directions.

Both sets stand on both tables before the swap, and go with them when they are renamed. Which set acts, a switch says:
a table that has a row, or none, and that changes its name in the same RENAME. So there is no moment without dual write,
and none in which it goes round in circles. The switch is read with a lock, because a snapshot would show an old one.

A row is found by its key. INSERT ... ON DUPLICATE KEY UPDATE locks exactly that row; an UPDATE or DELETE that finds
nothing would lock the gap, and two applications that do so wait for each other. Should it meet another row by another
unique key, it raises, and never overwrites that one.

What cannot be written to the other side is noted in `changeover_rejections`, and the application goes on; a deadlock or
a timeout is the application's own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.engines.mysql.names import quote, quoted
from tasks.engines.mysql.planning.mapping import Filled, row_key
from tasks.model.catalogue import Column
from tasks.model.names import OWN_PREFIX

EVENTS = ("delete", "update", "insert")
"""In this order: a row must not come into the shadow before its deletion would."""
_RAISE = "(select 1 union all select 2)"
_NOT_OF_THE_ROW = "1205, 1213, 1317, 1969, 3024, 1053, 1927, 1021, 1114"
"""Timeouts, deadlocks, killed statements, full disks: not a matter of the row."""
_REFERRED_TO = "1217, 1451"
"""A foreign key to the other table refuses: it would refuse the application, too."""


@dataclass(frozen=True, kw_only=True)
class Mirror:
    """What one set of triggers carries: from rows of one table to another."""

    migration: str
    table: str
    """Full name, for the record."""
    direction: str
    alias: str
    """With which expressions may qualify columns."""
    source_columns: tuple[str, ...]
    target: str
    """Bare name of the other table, which may be another table after the swap."""
    switch: str
    source_key: tuple[Column, ...]
    target_key: tuple[str, ...]
    filled: tuple[Filled, ...]
    checked: bool = True
    """Whether the server is to look for the parents of a row; what the application has written has them."""
    referred_to: tuple[tuple[str, str], ...] = ()
    """Columns to which foreign keys refer, and those of the other table, which has its own, or for a moment these."""
    by_others: bool = False
    """Whether there are some of other tables."""


def triggers(mirror: Mirror, on: str, name: str) -> Iterator[tuple[str, str, str]]:
    """Yield event, name and statement of each trigger on a table."""
    bodies = {"delete": _delete(mirror), "update": _update(mirror), "insert": _write(mirror, "new")}
    for event in EVENTS:
        trigger = f"{name}_{event[0]}"
        head = f"create trigger {quote(trigger)} after {event} on {quote(on)} for each row"
        row = "old" if event == "delete" else "new"
        yield event, trigger, f"{head}\n{_guarded(mirror, bodies[event], row)}"


def _guarded(mirror: Mirror, body: str, row: str) -> str:
    key = row_key(mirror.source_key, [f"{row}.{quote(column.name)}" for column in mirror.source_key])
    unnoted = f"{_NOT_OF_THE_ROW}, {_REFERRED_TO}" if mirror.by_others else _NOT_OF_THE_ROW
    return f"""begin
  declare {OWN_PREFIX}code int default 0;
  declare {OWN_PREFIX}state varchar(5) default '';
  begin
    declare exit handler for sqlexception begin
      get diagnostics condition 1 {OWN_PREFIX}code = mysql_errno, {OWN_PREFIX}state = returned_sqlstate;
      if {OWN_PREFIX}code in ({unnoted}) then resignal; end if;
      insert into changeover_rejections (migration, table_name, direction, `sqlstate`, row_key)
        values ({quoted(mirror.migration)}, {quoted(mirror.table)}, '{mirror.direction}', {OWN_PREFIX}state,
          {key});
    end;
    if exists (select 1 from {quote(mirror.switch)} lock in share mode) then
      {body}
    end if;
  end;
end"""


def _update(mirror: Mirror) -> str:
    key = [(one.name, target) for one, target in zip(mirror.source_key, mirror.target_key, strict=True)]
    telling = dict.fromkeys([*key, *mirror.referred_to])
    same = " and ".join(f"cast(old.{quote(one)} as binary) <=> cast(new.{quote(one)} as binary)" for one, _ in telling)
    moved = _move(mirror, list(telling)) if mirror.referred_to else _delete(mirror)
    return f"if not ({same}) then {moved} end if;\n      {_write(mirror, 'new')}"


def _move(mirror: Mirror, telling: Sequence[tuple[str, str]]) -> str:
    """Change the key of the row, and what is referred to: a foreign key has another rule for rows that are deleted."""
    given = ", ".join(f"{quote(target)} = new.{quote(source)}" for source, target in telling)
    moved = f"update {quote(mirror.target)} set {given} where {_found(mirror)};"
    if mirror.by_others:
        return f"{_there(mirror)} {moved}"
    # What the other table cannot hold by its new key is not to stay there by the one that is gone.
    return f"""{_there(mirror)} begin
        declare exit handler for sqlexception begin
          get diagnostics condition 1 {OWN_PREFIX}code = mysql_errno;
          if {OWN_PREFIX}code not in ({_NOT_OF_THE_ROW}, {_REFERRED_TO}) then
            delete from {quote(mirror.target)} where {_found(mirror)};
          end if;
          resignal;
        end;
        {moved}
      end;"""


def _delete(mirror: Mirror) -> str:
    return f"{_there(mirror)} delete from {quote(mirror.target)} where {_found(mirror)};"


def _there(mirror: Mirror) -> str:
    """Make sure that the row is there: an UPDATE or DELETE that finds none would lock a gap."""
    return f"begin declare exit handler for sqlexception begin end; {_insert(mirror, 'old', keep=True)}; end;"


def _found(mirror: Mirror) -> str:
    return " and ".join(
        f"{quote(target)} = old.{quote(source.name)}"
        for source, target in zip(mirror.source_key, mirror.target_key, strict=True)
    )


def _write(mirror: Mirror, row: str) -> str:
    return f"{_insert(mirror, row, keep=False)};"


def _insert(mirror: Mirror, row: str, *, keep: bool) -> str:
    columns = ", ".join(quote(f.column.name) for f in mirror.filled)
    # Qualified: the names of the row that is written are seen here, too.
    there = quote(mirror.target)
    same = " and ".join(f"{there}.{quote(c)} <=> values({quote(c)})" for c in mirror.target_key)
    first = quote(mirror.target_key[0])
    changes = [f"{there}.{first} = if({same}, values({first}), {_RAISE})"]
    if not keep:
        changes += [f"{there}.{quote(f.column.name)} = values({quote(f.column.name)})" for f in mirror.filled
                    if f.column.name != mirror.target_key[0]]  # fmt: skip
    unchecked = "" if mirror.checked else "set statement foreign_key_checks = 0 for "
    head = f"{unchecked}insert into {quote(mirror.target)} ({columns}) {_values(mirror, row)}"
    return f"{head} on duplicate key update {', '.join(changes)}"


def _values(mirror: Mirror, row: str) -> str:
    if all(f.same for f in mirror.filled):
        return f"values ({', '.join(f'{row}.{quote(f.same)}' for f in mirror.filled)})"
    given = ", ".join(f"{row}.{quote(c)} as {quote(c)}" for c in mirror.source_columns)
    made = ", ".join(f"({f.expression}\n)" for f in mirror.filled)
    return f"select {made} from (select {given}) as {quote(mirror.alias)}"
