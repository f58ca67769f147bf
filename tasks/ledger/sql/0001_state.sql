-- Version 1: where every migration stands. Run by tasks/ledger/install.py under an advisory lock.

create table changeover.migrations (
    id text primary key check (id <> ''),
    strategy text not null,
    profile text not null,
    database text not null,
    state text not null,
    epoch bigint not null default 0,
    run_id text,
    flow_run_id text,
    executor text,
    author text not null,
    -- json, not jsonb: the plan is kept to the byte, and its text is what plan_sha256 is taken of.
    plan json not null,
    plan_sha256 text not null,
    plan_digest text not null,
    spec_digest text not null,
    message text not null default '',
    created_at timestamptz not null default clock_timestamp(),
    updated_at timestamptz not null default clock_timestamp(),
    swapped_at timestamptz,
    -- Where the present attempt began. A gate of an earlier epoch and a rejection of an earlier id belong to
    -- an attempt that was rolled back.
    attempt_epoch bigint not null default 0,
    attempt_rejection bigint not null default 0
);

create table changeover.steps (
    migration text not null references changeover.migrations (id),
    key text not null,
    position integer not null,
    phase text not null,
    state text not null,
    attempts integer not null default 0,
    started_at timestamptz,
    finished_at timestamptz,
    detail jsonb not null default '{}',
    primary key (migration, key)
);

-- A row changes with every batch: room on the page keeps those updates off the index (HOT).
create table changeover.cursors (
    migration text not null,
    step text not null,
    shard integer not null,
    low jsonb,
    high jsonb,
    position jsonb,
    rows bigint not null default 0,
    batches bigint not null default 0,
    batch_rows integer,
    state text not null default 'pending',
    started_at timestamptz,
    updated_at timestamptz not null default clock_timestamp(),
    primary key (migration, step, shard),
    foreign key (migration, step) references changeover.steps (migration, key)
) with (fillfactor = 50);

create table changeover.controls (
    migration text not null references changeover.migrations (id),
    name text not null,
    value jsonb not null,
    set_by text not null,
    set_at timestamptz not null default clock_timestamp(),
    primary key (migration, name)
);

create table changeover.approvals (
    id bigint generated always as identity primary key,
    migration text not null references changeover.migrations (id),
    plan_digest text not null,
    approver text not null check (approver <> ''),
    decision text not null check (decision in ('approve', 'reject')),
    reason text not null,
    at timestamptz not null default clock_timestamp(),
    expires_at timestamptz
);
create index approvals_by_plan on changeover.approvals (migration, plan_digest);

create table changeover.gates (
    id bigint generated always as identity primary key,
    migration text not null references changeover.migrations (id),
    gate text not null,
    plan_digest text not null,
    passed boolean not null,
    result json not null,
    rejections bigint not null,
    epoch bigint not null,
    at timestamptz not null default clock_timestamp()
);
create index gates_by_name on changeover.gates (migration, gate, id);

create table changeover.snapshots (
    migration text not null references changeover.migrations (id),
    name text not null,
    payload json not null,
    at timestamptz not null default clock_timestamp(),
    primary key (migration, name)
);

-- Written by triggers within statements of applications: no foreign key, which would lock the migration's row
-- for the length of their transactions.
create table changeover.rejections (
    id bigint generated always as identity primary key,
    migration text not null,
    table_name text not null,
    direction text not null,
    sqlstate text not null,
    at timestamptz not null default clock_timestamp()
);
create index rejections_by_migration on changeover.rejections (migration, id);

create function changeover.refuse_change() returns trigger
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    raise exception using
        errcode = 'insufficient_privilege',
        message = format('%I.%I is append-only: %s is refused', tg_table_schema, tg_table_name, tg_op),
        hint = 'Leave what was recorded as it is, and record the correction.';
end
$$;

create trigger append_only before update or delete or truncate on changeover.approvals
    for each statement execute function changeover.refuse_change();
create trigger append_only before update or delete or truncate on changeover.gates
    for each statement execute function changeover.refuse_change();
create trigger append_only before update or delete or truncate on changeover.rejections
    for each statement execute function changeover.refuse_change();

-- Also for sessions that run with session_replication_role = replica.
alter table changeover.approvals enable always trigger append_only;
alter table changeover.gates enable always trigger append_only;
alter table changeover.rejections enable always trigger append_only;
