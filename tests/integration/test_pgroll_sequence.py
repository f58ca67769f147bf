"""Files of pgroll, one after another on one database: each there, back, there again, and contracted.

Each with a version of its own, as pgroll has it: where `make every` asks, without versions, too.
"""

from collections.abc import Iterator
from pathlib import PurePath
from textwrap import dedent
from typing import Any

import psycopg
import pytest

from tasks.ledger.install import install
from tasks.model.operations import AnyOperation
from tasks.model.source import parse
from tasks.model.spec import MigrationSpec
from tests.conformance.drive import Migration
from tests.conformance.test_versions import baseline
from tests.legs import EVERY_LEG
from tests.servers.postgres import PostgresServer, fresh_database

Connection = psycopg.Connection[Any]

OURS = {
    "alter_type", "clean_column", "create_api_version", "create_type", "denormalize", "drop_api_version", "drop_type",
    "extract_junction", "extract_lookup", "merge_tables", "move_column", "rebuild_table", "split_table",
}  # fmt: skip
"""Operations that pgroll does not know."""
FILES = {
    "01_harbour.yaml": """\
        operations:
          - create_table:
              name: harbours
              comment: Where boats are at home
              columns:
                - {name: code, type: varchar(8), pk: true}
                - {name: country, type: text, pk: true}
                - name: berths
                  type: integer
                  default: "10"
                  check: {name: some_berths, constraint: CHECK (berths > 0)}
          - create_table:
              name: boats
              columns:
                - name: id
                  type: bigint
                  pk: true
                  generated: {identity: {user_specified_values: BY DEFAULT, sequence_options: start with 100}}
                - {name: name, type: varchar(40), unique: yes}
                - {name: harbour, type: varchar(8), nullable: true}
                - {name: country, type: text, nullable: true}
                - {name: length, type: text, default: "'10'", comment: in metres}
                - {name: built, type: integer, nullable: true}
                - {name: notes, type: text, nullable: true}
        """,
    "02_crew.json": """\
        {"name": "02_crew", "operations": [
          {"create_table": {
            "name": "crew",
            "columns": [
              {"name": "id", "type": "serial", "nullable": true},
              {"name": "boat", "type": "bigint"},
              {"name": "cabin", "type": "integer", "nullable": true},
              {"name": "night", "type": "date", "default": "current_date"},
              {"name": "hours", "type": "integer", "default": "8"},
              {"name": "deck", "type": "integer", "nullable": true, "generated": {"expression": "cabin / 100"}}
            ],
            "constraints": [
              {"name": "crew_pk", "type": "primary_key", "columns": ["id"]},
              {"name": "crew_boat", "type": "foreign_key", "columns": ["boat"], "deferrable": true,
               "initially_deferred": true,
               "references": {"table": "boats", "columns": ["id"], "on_delete": "cascade"}},
              {"name": "crew_cabin", "type": "unique", "columns": ["boat", "cabin"], "nulls_not_distinct": false,
               "index_parameters": {"include_columns": ["hours"], "storage_parameters": "fillfactor = 80"}},
              {"name": "crew_hours", "type": "check", "check": "hours <= 24", "no_inherit": true},
              {"name": "crew_night", "type": "exclude",
               "exclude": {"index_method": "btree", "elements": "boat WITH =, night WITH =, cabin WITH ="}}
            ]}},
          {"create_constraint": {"name": "crew_cabins", "table": "crew", "type": "check", "columns": ["cabin"],
            "check": "cabin > 0", "up": {"cabin": "cabin"}, "down": {"cabin": "cabin"}}}
        ]}
        """,
    "03_add.yaml": """\
        operations:
          - add_column:
              table: boats
              up: SELECT upper(name)
              column: {name: sign, type: text, nullable: false, unique: true}
          - add_column:
              table: boats
              column:
                name: mooring
                type: integer
                default: "0"
                check: {name: mooring_known, constraint: mooring >= 0}
          - add_column:
              table: harbours
              up: (random() * 100)::int
              column: {name: depth, type: int, default: (random() * 100)::int}
        """,
    "04_rename_column.yaml": """\
        operations:
          - rename_column: {table: boats, from: built, to: year}
        """,
    "05_rename_as_before.json": """\
        {"operations": [
          {"alter_column": {"table": "boats", "column": "notes", "name": "remarks", "up": "", "down": ""}}
        ]}
        """,
    "06_type.yaml": """\
        operations:
          - alter_column:
              table: boats
              column: length
              type: numeric(6, 2)
              default: "12.5"
              up: CAST(length AS numeric)
              down: SELECT CAST(length AS text)
        """,
    "07_not_null.yaml": """\
        operations:
          - alter_column:
              table: boats
              column: year
              nullable: false
              check: {name: year_known, constraint: year > 1800}
              up: SELECT CASE WHEN year IS NULL THEN 1900 ELSE year END
        """,
    "08_nullable.yaml": """\
        operations:
          - alter_column:
              table: boats
              column: sign
              nullable: true
              up: sign
              down: SELECT CASE WHEN sign IS NULL THEN name || ' without sign' ELSE sign END
        """,
    "09_in_place.yaml": """\
        operations:
          - alter_column: {table: boats, column: length, default: null, comment: "", up: length, down: length}
          - alter_column:
              table: boats
              column: remarks
              unique: {name: boats_remarks}
              up: remarks || ' ' || (random() * 1000000)::int
              down: remarks
        """,
    "10_indexes.yaml": """\
        operations:
          - create_index:
              name: boats_by_year
              table: boats
              columns: {year: {sort: DESC}, name: {}}
              predicate: year > 1900
          - create_index:
              name: boats_by_country
              table: boats
              columns: [{column: country, opclass: {name: text_pattern_ops}}]
              method: btree
              storage_parameters: fillfactor = 70
          - create_index: {name: boats_by_sign, table: boats, columns: [sign], method: hash, unique: false}
        """,
    "11_drop_index.yaml": """\
        operations:
          - drop_index: {name: boats_by_country}
        """,
    "12_constraints.yaml": """\
        operations:
          - create_constraint:
              name: boats_home
              table: boats
              type: foreign_key
              columns: [harbour, country]
              references: {table: harbours, columns: [code, country], on_delete: CASCADE, match_type: SIMPLE}
              up: {harbour: harbour, country: country}
              down: {harbour: harbour, country: country}
          - create_constraint:
              name: crew_short_nights
              table: crew
              type: check
              columns: [hours]
              check: hours < 13
              up: {hours: "SELECT CASE WHEN hours < 13 THEN hours ELSE 12 END"}
              down: {hours: hours}
        """,
    "13_unique.yaml": """\
        operations:
          - create_constraint:
              name: boats_once
              table: boats
              type: unique
              columns: [name, year]
              up: {name: name, year: year}
              down: {name: name, year: year}
        """,
    "14_rename_constraint.yaml": """\
        operations:
          - rename_constraint: {table: boats, from: boats_once, to: boats_name_year}
        """,
    "15_drop_multicolumn.yaml": """\
        operations:
          - drop_multicolumn_constraint:
              table: boats
              name: boats_name_year
              up: {name: name, year: year}
              down: {name: name, year: year}
        """,
    "16_drop_constraint.yaml": """\
        operations:
          - drop_constraint:
              table: boats
              name: year_known
              up: year
              down: SELECT greatest(year, 1801)
          - drop_constraint:
              table: harbours
              name: some_berths
              up: berths
              down: greatest(berths, 1)
          - drop_constraint:
              table: boats
              name: boats_remarks
              up: remarks
              down: remarks || ' ' || (random() * 1000000)::int
        """,
    "17_drop_column.yaml": """\
        operations:
          - drop_column: {table: boats, column: mooring, down: "0"}
          - drop_column: {table: boats, column: remarks}
        """,
    "18_sql.yaml": """\
        operations:
          - sql:
              up: CREATE TYPE flag AS ENUM ('red', 'green');
              down: DROP TYPE IF EXISTS flag
        """,
    "19_enum.yaml": """\
        operations:
          - add_column: {table: boats, column: {name: flag, type: flag, default: "'green'"}}
        """,
    "20_on_complete.json": """\
        {"operations": [{"sql": {"up": "COMMENT ON TABLE boats IS 'afloat'", "onComplete": true}}]}
        """,
    "21_replica_identity.yaml": """\
        operations:
          - set_replica_identity: {table: boats, identity: {type: index, index: boats_pkey}}
          - set_replica_identity: {table: crew, identity: {type: full, index: ""}}
        """,
    "22_Rename-Table.yaml": """\
        name: rename the table
        operations:
          - rename_table: {from: boats, to: vessels}
        """,
    "23_drop_table.yaml": """\
        operations:
          - drop_table: {name: crew}
        """,
}
ROWS = {
    "01_harbour.yaml": """\
        insert into harbours (code, country, berths) values ('AMS', 'NL', 5), ('HAM', 'DE', 7);
        insert into boats (name, harbour, country, built, notes)
        select 'boat ' || n, 'AMS', 'NL', nullif(1900 + n, 1905), nullif('same', case when n = 3 then 'same' end)
        from generate_series(1, 25) n;
        """,
    "02_crew.json": """\
        insert into crew (boat, cabin, hours) select id, 1, 8 + id % 10 from boats;
        """,
}


CREW = [
    (
        "crew_boat",
        "FOREIGN KEY (boat) REFERENCES boats(id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED",
        None,
    ),
    ("crew_cabin", "UNIQUE (boat, cabin) INCLUDE (hours)", ["fillfactor=80"]),
    ("crew_cabins", "CHECK ((cabin > 0))", None),
    ("crew_hours", "CHECK ((hours <= 24)) NO INHERIT", None),
    ("crew_night", "EXCLUDE USING btree (boat WITH =, night WITH =, cabin WITH =)", None),
    ("crew_pk", "PRIMARY KEY (id)", None),
]
"""The constraints of a table, with the settings of their indexes."""


def of_crew(conn: Connection) -> list[tuple[Any, ...]]:
    """The same, as the database has them."""
    return conn.execute(
        "select conname::text, pg_get_constraintdef(k.oid), case when contype <> 'f' then reloptions end"
        " from pg_constraint k left join pg_class i on i.oid = conindid"
        " where conrelid = 'crew'::regclass and contype <> 'n' order by 1"
    ).fetchall()


def deck(conn: Connection) -> int:
    """What the database computes for a row, which is not kept."""
    with conn.transaction(force_rollback=True):
        conn.execute("insert into boats (id, name) values (1, 'x')")
        row = conn.execute("insert into crew (boat, cabin) values (1, 700) returning deck").fetchone()
        assert row is not None
        return int(row[0])


def spec(name: str) -> MigrationSpec:
    """What a file asks for."""
    return parse(dedent(FILES[name]), f"pgroll:migrations/{name}")


def there_and_back_and_there_again(url: str, wanted: MigrationSpec, version: str | None) -> None:
    """Walk all the ways of a migration, with its gates."""
    operations = wanted.model_dump(mode="json")["operations"]
    kinds = {one.kind for one in wanted.operations}
    for last in (False, True):
        migration = Migration(url, operations, name=wanted.migration, version_schema=version)
        migration.begin()
        migration.before_swap()
        migration.swap()
        if last:
            migration.contract()
        else:
            migration.roll_back(sql="sql" in kinds)


@pytest.fixture(scope="module", params=[True, False][: 1 + EVERY_LEG], ids=["versions", "plain"][: 1 + EVERY_LEG])
def carried_out(postgres: PostgresServer, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A database on which every file was carried out in its turn."""
    with fresh_database(postgres) as url, psycopg.connect(url, autocommit=True) as conn:
        install(conn, actor="test")
        if request.param:
            baseline(url, "00")
        for name in FILES:
            there_and_back_and_there_again(url, spec(name), name[:2] if request.param else None)
            if name in ROWS:
                conn.execute(ROWS[name].encode())
            if name == "12_constraints.yaml":
                assert of_crew(conn) == sorted([*CREW, ("crew_short_nights", "CHECK ((hours < 13))", None)])
        yield conn


def test_the_files_use_every_operation() -> None:
    """Of pgroll's: all but those that only we have."""
    used = {operation.kind for name in FILES for operation in spec(name).operations}
    assert used == {kind.kind for kind in AnyOperation.__args__} - OURS


def test_one_after_another_they_make_the_database_that_they_describe(carried_out: Connection) -> None:
    """Tables, columns, constraints, indexes and rows."""
    conn = carried_out
    tables = conn.execute(
        "select relname::text, obj_description(oid), relreplident::text from pg_class"
        " where relnamespace = 'public'::regnamespace and relkind = 'r' order by 1"
    ).fetchall()
    assert tables == [("harbours", "Where boats are at home", "d"), ("vessels", "afloat", "i")]
    columns = conn.execute(
        "select attname::text, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid),"
        " col_description(attrelid, attnum) from pg_attribute left join pg_attrdef on adrelid = attrelid"
        " and adnum = attnum where attrelid = 'vessels'::regclass and attnum > 0 and not attisdropped order by 1"
    ).fetchall()
    assert columns == [
        ("country", "text", False, None, None),
        ("flag", "flag", True, "'green'::flag", None),
        ("harbour", "character varying(8)", False, None, None),
        ("id", "bigint", True, None, None),
        ("length", "numeric(6,2)", True, None, None),
        ("name", "character varying(40)", True, None, None),
        ("sign", "text", False, None, None),
        ("year", "integer", True, None, None),
    ]
    constraints = conn.execute(
        "select conname::text, convalidated from pg_constraint"
        " where conrelid in ('vessels'::regclass, 'harbours'::regclass) and contype <> 'n' order by 1"
    ).fetchall()
    assert constraints == [
        ("boats_home", True), ("boats_name_key", True), ("boats_pkey", True), ("boats_sign_key", True),
        ("harbours_pkey", True),
    ]  # fmt: skip
    indexes = conn.execute("select indexname::text from pg_indexes where tablename = 'vessels' order by 1").fetchall()
    assert [row[0] for row in indexes] == [
        "boats_by_sign", "boats_by_year", "boats_name_key", "boats_pkey", "boats_sign_key",
    ]  # fmt: skip
    rows = conn.execute(
        "select count(*), count(*) filter (where year = 1900), min(length), count(distinct sign), min(id) from vessels"
    ).fetchone()
    assert rows == (25, 1, 10, 25, 100)


def test_files_are_migrations_of_their_own_names(carried_out: Connection) -> None:
    """Lower case, as names are; nothing of ours is left but the ledger."""
    named = carried_out.execute("select id::text, state::text from changeover.migrations order by 1").fetchall()
    assert [one for one in named if one[0] != "00"] == [(PurePath(name).stem.lower(), "contracted") for name in FILES]
    left = carried_out.execute("select proname::text from pg_proc where proname like '\\_changeover%'").fetchall()
    assert left == []


def test_a_table_has_what_its_file_says(database: str) -> None:
    """Generated columns, and constraints with everything that they can have."""
    with psycopg.connect(database, autocommit=True) as conn:
        install(conn, actor="test")
        for name in ("01_harbour.yaml", "02_crew.json"):
            wanted = spec(name)
            migration = Migration(database, wanted.model_dump(mode="json")["operations"], name=wanted.migration)
            migration.begin()
            migration.before_swap()
            migration.swap()
        assert of_crew(conn) == CREW
        assert deck(conn) == 7
