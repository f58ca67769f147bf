-- Schemas of views, each of which shows one version of another schema.
create table changeover.versions (
    schema_name text primary key,
    of_schema text not null,
    name text not null,
    migration text not null,
    created_at timestamptz not null default clock_timestamp(),
    unique (of_schema, name)
);
