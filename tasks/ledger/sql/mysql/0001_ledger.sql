-- Version 1 on MariaDB. Every statement commits by itself, so each may be run again. Run by tasks/ledger/install.py,
-- which splits at a semicolon at the end of a line. `installation` comes last but for its row: who finds it finds all.

create table if not exists changeover_locks (
    name varchar(128) character set utf8mb4 collate utf8mb4_bin primary key
) engine=InnoDB;
insert into changeover_locks (name) values ('audit') on duplicate key update name = name;

create table if not exists changeover_migrations (
    id varchar(64) character set utf8mb4 collate utf8mb4_bin primary key check (id <> ''),
    strategy varchar(64) not null,
    profile text not null,
    `database` varchar(64) not null,
    state varchar(32) not null,
    epoch bigint not null default 0,
    run_id varchar(64),
    flow_run_id varchar(64),
    executor varchar(255),
    author varchar(255) not null,
    -- The text of the plan is what plan_sha256 is taken of.
    plan longtext character set utf8mb4 collate utf8mb4_bin not null,
    plan_sha256 char(64) not null,
    plan_digest char(64) not null,
    spec_digest char(64) not null,
    message text not null default '',
    created_at datetime(6) not null default current_timestamp(6),
    updated_at datetime(6) not null default current_timestamp(6),
    swapped_at datetime(6),
    attempt_epoch bigint not null default 0,
    attempt_rejection bigint not null default 0
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_steps (
    migration varchar(64) not null,
    `key` varchar(255) not null,
    position int not null,
    phase varchar(32) not null,
    state varchar(32) not null,
    attempts int not null default 0,
    started_at datetime(6),
    finished_at datetime(6),
    detail longtext not null default '{}' check (json_valid(detail)),
    primary key (migration, `key`),
    constraint changeover_steps_of foreign key (migration) references changeover_migrations (id)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

-- Without foreign key: it would lock the step's row with every batch.
create table if not exists changeover_cursors (
    migration varchar(64) not null,
    step varchar(255) not null,
    shard int not null,
    low longtext,
    high longtext,
    position longtext,
    `rows` bigint not null default 0,
    batches bigint not null default 0,
    batch_rows int,
    state varchar(32) not null default 'pending',
    started_at datetime(6),
    updated_at datetime(6) not null default current_timestamp(6),
    seconds double not null default 0,
    primary key (migration, step, shard)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_controls (
    migration varchar(64) not null,
    name varchar(64) not null,
    value longtext not null check (json_valid(value)),
    set_by varchar(255) not null,
    set_at datetime(6) not null default current_timestamp(6),
    primary key (migration, name)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_approvals (
    id bigint auto_increment primary key,
    migration varchar(64) not null,
    plan_digest char(64) not null,
    approver varchar(255) not null check (approver <> ''),
    decision varchar(16) not null check (decision in ('approve', 'reject')),
    reason text not null,
    at datetime(6) not null default current_timestamp(6),
    expires_at datetime(6),
    key approvals_by_plan (migration, plan_digest)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_gates (
    id bigint auto_increment primary key,
    migration varchar(64) not null,
    gate varchar(64) not null,
    plan_digest char(64) not null,
    passed boolean not null,
    result longtext not null,
    rejections bigint not null,
    epoch bigint not null,
    at datetime(6) not null default current_timestamp(6),
    key gates_by_name (migration, gate, id)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_snapshots (
    migration varchar(64) not null,
    name varchar(64) not null,
    payload longtext not null,
    at datetime(6) not null default current_timestamp(6),
    primary key (migration, name)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

-- Written by triggers within statements of applications.
create table if not exists changeover_rejections (
    id bigint auto_increment primary key,
    migration varchar(64) not null,
    table_name varchar(129) not null,
    direction varchar(8) not null,
    `sqlstate` varchar(5) not null,
    at datetime(6) not null default current_timestamp(6),
    key rejections_by_migration (migration, id)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

-- Our own sessions: each holds the named lock of its name for as long as it lives.
create table if not exists changeover_sessions (
    name varchar(64) primary key,
    tag varchar(16) not null,
    run_id varchar(64) not null,
    purpose varchar(64) not null,
    opened_at datetime(6) not null default current_timestamp(6),
    key sessions_by_run (tag, run_id)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create table if not exists changeover_audit (
    seq bigint primary key check (seq > 0),
    prev_hash char(64) not null,
    hash char(64) not null,
    at datetime(6) not null,
    actor text not null,
    role text not null,
    place text not null,
    action text not null,
    subject text not null,
    outcome text not null,
    digest text not null,
    detail longtext not null,
    -- The exact RFC 8785 JSON that is hashed.
    body longtext not null,
    unique key audit_prev_hash (prev_hash),
    unique key audit_by_hash (hash),
    constraint audit_hash check (hash = sha2(concat(unhex('00'), unhex(prev_hash), cast(body as binary)), 256))
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;

create trigger if not exists changeover_approvals_u before update on changeover_approvals for each row
    signal sqlstate '45000' set message_text = 'changeover_approvals is append-only: UPDATE is refused';
create trigger if not exists changeover_approvals_d before delete on changeover_approvals for each row
    signal sqlstate '45000' set message_text = 'changeover_approvals is append-only: DELETE is refused';
create trigger if not exists changeover_gates_u before update on changeover_gates for each row
    signal sqlstate '45000' set message_text = 'changeover_gates is append-only: UPDATE is refused';
create trigger if not exists changeover_gates_d before delete on changeover_gates for each row
    signal sqlstate '45000' set message_text = 'changeover_gates is append-only: DELETE is refused';
create trigger if not exists changeover_rejections_u before update on changeover_rejections for each row
    signal sqlstate '45000' set message_text = 'changeover_rejections is append-only: UPDATE is refused';
create trigger if not exists changeover_rejections_d before delete on changeover_rejections for each row
    signal sqlstate '45000' set message_text = 'changeover_rejections is append-only: DELETE is refused';
create trigger if not exists changeover_audit_u before update on changeover_audit for each row
    signal sqlstate '45000' set message_text = 'changeover_audit is append-only: UPDATE is refused';
create trigger if not exists changeover_audit_d before delete on changeover_audit for each row
    signal sqlstate '45000' set message_text = 'changeover_audit is append-only: DELETE is refused';

create table if not exists changeover_installation (
    only_one boolean primary key default true check (only_one),
    id char(32) not null,
    version int not null,
    created_at datetime(6) not null default current_timestamp(6),
    upgraded_at datetime(6) not null default current_timestamp(6)
) engine=InnoDB character set utf8mb4 collate utf8mb4_bin;
