"""extract_lookup: the column and the reference stand side by side, in step, until `contract`.

What keeps them in step is in `planning.linked.lookup`; it is the same before and after the swap.
"""

from tasks.engines.postgresql.planning.attached.belongings import privileges
from tasks.engines.postgresql.planning.checks.require import existing_column, free_column, free_constraint
from tasks.engines.postgresql.planning.draft import TableDraft
from tasks.engines.postgresql.planning.dual_write import literal
from tasks.engines.postgresql.planning.keys import choose_key
from tasks.engines.postgresql.planning.linked import preconditions
from tasks.engines.postgresql.planning.linked.lookup import Lookup
from tasks.engines.postgresql.planning.linked.outbox import Outbox
from tasks.engines.postgresql.planning.move import Move, Restriction
from tasks.model.catalogue import Column
from tasks.model.errors import SpecError
from tasks.model.names import own_name, quote
from tasks.model.operations import ExtractLookup
from tasks.model.plan import (
    Assignment,
    Backfill,
    Comparison,
    Finding,
    Lock,
    LockMode,
    Phase,
    Requirement,
    ShortTransaction,
    Step,
    Validation,
)  # fmt: skip
from tasks.model.spec import BackfillOptions

_LONGEST = 2600
"""Bytes of a value that an index can always hold."""
_SAME = ("text", "character", "smallint", "integer", "bigint", "uuid", "date", "boolean", "timestamp")
"""How the names of types begin of which equal values are the same value; an enum is one, too."""


def draft_extract_lookup(op: ExtractLookup, draft: TableDraft, backfill: BackfillOptions, where: str) -> None:
    """Make the table, add the reference, keep both in step, and retire the column."""
    column = existing_column(draft, op.column, where)
    free_column(draft, op.new_name, where)
    free_constraint(draft, op.foreign_key, where)
    preconditions.check(draft, backfill.user_triggers, where)
    preconditions.movable(draft, column, where)
    _comparable(draft, column, where)
    draft.rehearsal.try_on_new(f"alter table {{table}} add column {quote(op.new_name)} bigint", where)
    draft.rehearsal.try_on_new(f"alter table {{table}} drop column {quote(op.column)}", where)
    schema, name = draft.spec.split_name(op.to)
    if draft.spec.relation_exists(schema, name):
        raise SpecError(f"{schema}.{name} exists already", where=f"{where}.to", hint="Choose another name.")
    draft.key = choose_key(draft, backfill.key)
    lookup = Lookup(
        outbox=Outbox(
            migration=draft.migration,
            about=f"{draft.full_name}\0{op.column}\0lookup",
            types=tuple(c.type for key in draft.key for c in draft.table.columns if c.name == key),
            search_path=draft.search_path,
        ),
        table=draft.real,
        lookup=f"{quote(schema)}.{quote(name)}",
        key=draft.key,
        text=op.column,
        reference=op.new_name,
        value=op.value,
        type=column.type,
    )
    whole = draft.spec
    whole.created[op.to] = whole.created[f"{schema}.{name}"] = lookup.lookup
    draft.add_column(op.new_name, "bigint")
    draft.shape.plain_new[op.new_name] = "bigint"
    draft.shape.dropped.add(op.column)
    draft.touched.add(op.column)
    draft.restrict(
        op.foreign_key,
        f"foreign key ({quote(op.new_name)}) references {lookup.lookup} (id)",
        locks=[Lock(table=lookup.lookup, mode=LockMode.SHARE_ROW_EXCLUSIVE)],
    )
    draft.last.append(Move(forward=lookup.outbox.carry_rest()))
    draft.drains.append(lookup.outbox.drain)
    # Whoever has just made a value, and not committed it.
    draft.swap_locks.append(Lock(table=lookup.lookup, mode=LockMode.SHARE_ROW_EXCLUSIVE))
    draft.comparisons += _comparisons(lookup, draft)
    draft.requirements += _requirements(lookup, draft)
    draft.findings += _findings(lookup, draft, column, where)
    whole.steps += [_create(lookup, draft, column, f"{schema}.{name}"), *_dual_write(lookup, draft)]
    whole.last_steps += _contract(lookup, draft, column)


def _comparable(draft: TableDraft, column: Column, where: str) -> None:
    """Equal values share a row, so a type with values that are equal and not the same would lose some."""
    row = draft.rehearsal.conn.execute(
        "select t.typtype = 'e', coalesce(c.collisdeterministic, true) from pg_catalog.pg_attribute a"
        " join pg_catalog.pg_type t on t.oid = a.atttypid left join pg_catalog.pg_collation c on c.oid = a.attcollation"
        " where a.attrelid = %s::regclass and a.attname = %s",
        (draft.real, column.name),
    ).fetchone()
    enum, deterministic = row if row is not None else (False, True)
    if not deterministic or not (enum or column.type.startswith(_SAME)):
        raise SpecError(
            f"{column.name} is of the type {column.type}, of which two values can be equal and not the same"
            if deterministic
            else f"the collation of {column.name} takes different texts for equal",
            where=where,
            hint="Give the column another type first, such as text: alter_column.",
        )


def _create(lookup: Lookup, draft: TableDraft, column: Column, name: str) -> Step:
    collation = f" collate {column.collation}" if column.collation else ""
    value = quote(lookup.value)
    return Step(
        key=f"expand/{name}/create",
        phase=Phase.EXPAND,
        title=f"create table {name} for the values of {draft.full_name}.{column.name}",
        undo="drop it, with the values that no row has",
        action=ShortTransaction(
            forward=(
                f"create table {lookup.lookup} (id bigint generated by default as identity primary key,"
                f" {value} {column.type}{collation} not null unique)",
                *(
                    [f"comment on column {lookup.lookup}.{value} is {literal(column.comment)}"]
                    if column.comment
                    else []
                ),
                *_grants(lookup, draft, column),
            ),
            inverse=(f"drop table if exists {lookup.lookup}",),
        ),
    )


def _grants(lookup: Lookup, draft: TableDraft, column: Column) -> list[str]:
    """Who reads the column reads the values, and who writes it may add to them."""
    found: dict[tuple[str, str], None] = {}
    for role, letter, _ in (*privileges(draft.table.grants), *privileges(column.grants)):
        if letter in "raw":
            found["select", role] = None
        if letter in "aw":
            found["insert", role] = None
    return [f"grant {privilege} on {lookup.lookup} to {role}" for privilege, role in found]


def _dual_write(lookup: Lookup, draft: TableDraft) -> list[Step]:
    both = sorted((lookup.table, lookup.lookup))
    types = {column.name: column.type for column in draft.table.columns}
    what = f"{draft.full_name}.{lookup.text} and {lookup.reference}"
    return [
        Step(
            key=f"dual_write/{draft.full_name}/{lookup.text} triggers",
            phase=Phase.DUAL_WRITE,
            title=f"keep {what} in step with triggers",
            undo="drop the triggers",
            action=ShortTransaction(
                locks=tuple(Lock(table=name, mode=LockMode.SHARE_ROW_EXCLUSIVE) for name in both),
                forward=lookup.create(),
                inverse=lookup.drop(),
                inverse_locks=tuple(Lock(table=name, mode=LockMode.ACCESS_EXCLUSIVE) for name in both),
            ),
        ),
        Step(
            key=f"backfill/{draft.full_name}/{lookup.reference} rows",
            phase=Phase.BACKFILL,
            title=f"fill {lookup.reference} of {draft.full_name}, and {lookup.lookup}, for rows that exist",
            action=Backfill(
                table=draft.real,
                key=draft.key,
                key_types=tuple(types[name] for name in draft.key),
                assignments=(Assignment(column=lookup.reference, type="bigint", expression=lookup.fill()),),
                alias=draft.table.name,
            ),
        ),
    ]


def _contract(lookup: Lookup, draft: TableDraft, column: Column) -> list[Step]:
    """The column goes with the triggers that fill it: what is NOT NULL cannot be without them."""
    locks = tuple(Lock(table=name, mode=LockMode.ACCESS_EXCLUSIVE) for name in sorted((lookup.table, lookup.lookup)))
    reference = quote(lookup.reference)
    check = Restriction(
        table=draft.real,
        full_name=draft.full_name,
        name=own_name("not_null", lookup.reference),
        definition=f"check ({reference} is not null)",
    )
    at = f"contract/{draft.full_name}/{lookup.text}"
    undo = "nothing: this is the point of no return"
    default = [_default(lookup, column.default)] if column.default is not None and _constant(column.default) else []
    found = [
        Step(
            key=f"{at} drop",
            phase=Phase.CONTRACT,
            title=f"drop {lookup.text} of {draft.full_name}, and what keeps it in step",
            undo=undo,
            action=ShortTransaction(
                locks=locks,
                forward=(
                    *lookup.outbox.carry_rest(),
                    *default,
                    *lookup.drop(),
                    draft.alter(f"drop column if exists {quote(lookup.text)}"),
                    *(() if column.nullable else (check.add,)),
                ),
                before=f"select {lookup.outbox.drain}",
            ),
        )
    ]
    if not column.nullable:
        found += [
            Step(
                key=f"{at} validate",
                phase=Phase.CONTRACT,
                title=f"validate that {lookup.reference} is not null, while applications write",
                undo=undo,
                action=Validation(table=draft.real, forward=(check.validate,)),
            ),
            Step(
                key=f"{at} not null",
                phase=Phase.CONTRACT,
                title=f"set {lookup.reference} of {draft.full_name} not null, without a scan",
                undo=undo,
                action=ShortTransaction(
                    locks=(draft.exclusive,),
                    forward=(draft.alter(f"alter column {reference} set not null"), check.drop),
                ),
            ),
        ]
    return found


def _constant(default: str) -> bool:
    """Tell whether a default is a literal, and not computed for each row."""
    return "(" not in default and not default.isupper()


def _default(lookup: Lookup, default: str) -> str:
    """The reference gets the default that the column had."""
    return f"""\
do $default$
declare
  found_id constant bigint := {lookup.of(f"({default})::{lookup.type}")};
begin
  if found_id is not null then
    execute pg_catalog.format('alter table %s alter column %I set default %s',
      {literal(lookup.table)}, {literal(lookup.reference)}, found_id);
  end if;
end
$default$"""


def _comparisons(lookup: Lookup, draft: TableDraft) -> list[Comparison]:
    keys = {f"_changeover_key_{i}": f"t.{quote(one)}" for i, one in enumerate(draft.key)}
    shown = ", ".join(f"{sql} as {quote(key)}" for key, sql in keys.items())
    waits = lookup.outbox.waits(tuple(keys.values()))
    stored, computed = f"t.{quote(lookup.text)}", f"l.{quote(lookup.value)}"
    once = Comparison(
        name=f"{draft.full_name}.{lookup.text} is what {lookup.reference} refers to",
        table=draft.full_name,
        key=tuple(keys),
        stored="stored",
        computed="computed",
        source=f"(select {shown}, {stored} as stored, {computed} as computed, {waits} as waits from {lookup.table} as t"
        f" left join {lookup.lookup} as l on l.id = t.{quote(lookup.reference)}) as looked_up",
        where="not waits",
    )
    return [once, once.model_copy(update={"gate": "after_swap"})]


def _requirements(lookup: Lookup, draft: TableDraft) -> list[Requirement]:
    tables = f"{literal(lookup.table)}::pg_catalog.regclass, {literal(lookup.lookup)}::pg_catalog.regclass"
    names = ", ".join(literal(name) for name in lookup.trigger_names.values())
    return [
        Requirement(
            name=f"{draft.full_name}.{lookup.text} has only values that an index can hold",
            table=draft.full_name,
            kind="check",
            violations=f"select {draft.key_list()} from {draft.real}"
            f" where pg_catalog.octet_length({quote(lookup.text)}::text) > {_LONGEST}",
        ),
        Requirement(
            name=f"{draft.full_name}.{lookup.text} and {lookup.reference} are kept in step",
            table=draft.full_name,
            kind="structure",
            gate="after_swap",
            violations=f"select 'the triggers of the two columns' as problem where {len(lookup.trigger_names)} <> ("
            f"select count(*) from pg_catalog.pg_trigger where tgrelid in ({tables}) and tgname in ({names})"
            " and tgenabled = 'A')",
        ),
    ]


def _findings(lookup: Lookup, draft: TableDraft, column: Column, where: str) -> list[Finding]:
    found = [
        Finding(
            rule="LNK-02",
            severity="note",
            message=f"the values in {lookup.lookup} can be added to and not changed or deleted until contract; a row"
            f" that is the first to use a value, while another transaction is, too, can be without"
            f" {lookup.reference} until the later of the two commits",
            where=where,
        )
    ]
    lost = [index.name for index in draft.table.indexes if lookup.text in index.referenced]
    if lost:
        found.append(
            Finding(
                rule="SAF-02",
                severity="warning",
                message=f"index {', '.join(lost)} disappears with the column when the migration is contracted",
                where=where,
                hint=f"Build one on {lookup.reference} in a migration of its own.",
            )
        )
    if column.default is not None and not _constant(column.default):
        found.append(
            Finding(
                rule="LNK-03",
                severity="warning",
                message=f"{lookup.reference} gets no default in place of {column.default}, which is not a constant",
                where=where,
            )
        )
    if draft.table.row_security:
        found.append(
            Finding(
                rule="LNK-04",
                severity="warning",
                message=f"{draft.full_name} has row security, and {lookup.lookup} shows all of its values to everybody"
                " who may read it",
                where=where,
            )
        )
    return found
