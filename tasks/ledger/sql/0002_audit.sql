-- Version 2: the hash-chained, append-only audit log.

create table changeover.audit (
    seq bigint primary key check (seq > 0),
    prev_hash text not null unique check (prev_hash ~ '^[0-9a-f]{64}$'),
    hash text not null unique,
    at timestamptz not null,
    actor text not null,
    role text not null,
    place text not null,
    action text not null,
    subject text not null,
    outcome text not null,
    digest text not null,
    detail jsonb not null,
    -- The exact RFC 8785 JSON that is hashed.
    body text not null,
    constraint audit_hash check (
        hash = encode(sha256(decode('00', 'hex') || decode(prev_hash, 'hex') || convert_to(body, 'UTF8')), 'hex')
    )
);

create trigger append_only before update or delete or truncate on changeover.audit
    for each statement execute function changeover.refuse_change();
alter table changeover.audit enable always trigger append_only;
