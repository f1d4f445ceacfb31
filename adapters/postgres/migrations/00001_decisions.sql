-- +goose Up
create table gatehouse.decisions (
    id              uuid primary key,
    decided_at      timestamptz not null,
    uid             text,
    hook            text not null,
    caller          text not null,
    caller_proof    text not null,
    workspace_id    uuid not null,
    kind            text not null,
    allowed         boolean not null,
    code            text,
    reason          text,
    policy_revision text not null,
    marked_failed   boolean not null,
    violations      json not null,
    event_id        uuid,
    event           json,
    input           json not null,
    facts_us        bigint not null,
    policy_us       bigint not null
);
comment on table gatehouse.decisions is
    'Every decision that was answered, written before its answer. Rows are never updated.';
comment on column gatehouse.decisions.id is 'uuid version 7: ordered by time';
comment on column gatehouse.decisions.uid is 'the registry''s own id of the request, if it gave one';
comment on column gatehouse.decisions.caller is 'name of the authenticated caller, empty if callers are not authenticated';
comment on column gatehouse.decisions.caller_proof is 'how the caller proved itself to the registry: token, bootstrap or install';
comment on column gatehouse.decisions.kind is 'platform, workspace or other, by the request or the stored row';
comment on column gatehouse.decisions.code is 'of the violation that denied; null if allowed';
comment on column gatehouse.decisions.reason is 'of the violation that denied; null if allowed';
comment on column gatehouse.decisions.marked_failed is 'this request marked the workspace failed';
comment on column gatehouse.decisions.violations is 'all that fired, warnings and audits too, gravest first';
comment on column gatehouse.decisions.event is 'the message that was announced; null if none was';
comment on column gatehouse.decisions.input is
    'what the policies saw, byte for byte: json and not jsonb, which would rewrite numbers. Holds the request as it was sent';
comment on column gatehouse.decisions.facts_us is 'microseconds that looking up the facts took';
comment on column gatehouse.decisions.policy_us is 'microseconds that evaluating the policies took';

-- A table of its own, because a unique index over a decision's uid could not hold when decisions are
-- partitioned or kept for a shorter time than uids.
create table gatehouse.request_uids (
    uid         text primary key,
    digest      bytea not null,
    decision_id uuid not null,
    decided_at  timestamptz not null
);
comment on table gatehouse.request_uids is 'The uids that were answered: the same uid again gets the same decision.';
comment on column gatehouse.request_uids.digest is 'SHA-256 of the request; another body under the same uid is a conflict';

create table gatehouse.events (
    seq          bigint generated always as identity primary key,
    id           uuid not null unique,
    workspace_id uuid not null,
    event_type   text not null,
    decision_id  uuid not null,
    message      json not null,
    created_at   timestamptz not null
);
comment on table gatehouse.events is 'The ledger of outgoing events: exactly one row per workspace that a decision marked failed.';
comment on column gatehouse.events.message is 'what goes out, as in the answer';

-- +goose Down
drop table gatehouse.events;
drop table gatehouse.request_uids;
drop table gatehouse.decisions;
