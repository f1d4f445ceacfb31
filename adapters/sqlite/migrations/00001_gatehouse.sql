-- Everything that Gatehouse keeps when the registry's database is not shared. Tables are STRICT: a value of
-- the wrong type is an error and not a surprise for a policy. Ids are canonical UUID texts; times are
-- RFC 3339 in UTC with six decimals, so that their order as text is their order in time.

-- +goose Up

-- What the registry told of its workspaces; the members of facts.workspace. Kind and status are checked as
-- the registry's own tables check them, because rules compare them exactly: a row of kind "Platform" would
-- be no platform row to any rule.
create table workspaces (
    id                text not null primary key check (length(id) = 36 and id = lower(id)),
    name              text not null,
    kind              text not null check (kind in ('workspace', 'platform')),
    status            text check (status in ('awaiting_agent', 'provisioning', 'online', 'offline', 'degraded',
                                             'failed', 'removed', 'paused', 'hibernated')),
    tier              integer,
    runtime           text,
    role              text,
    url               text,
    parent_id         text,
    workspace_access  text,
    workspace_dir     text,
    budget_limit      integer,
    monthly_spend     integer,
    last_sample_error text,
    delivery_mode     text not null,
    updated_at        text not null
) strict;

-- The names of a workspace's secrets. There is no column for a value, here or in any other table: Gatehouse
-- asks whether a secret is there, and what it does not hold it cannot lose.
create table workspace_secrets (
    workspace_id text not null references workspaces (id) on delete cascade,
    key          text not null,
    primary key (workspace_id, key)
) strict, without rowid;

-- The registry's log of what happened to workspaces, as in the registry's own database: append-only, without
-- a foreign key, because an event outlives its workspace.
create table structure_events (
    id           text not null primary key,
    event_type   text not null,
    workspace_id text not null,
    payload      text not null check (json_valid(payload)),
    created_at   text not null
) strict;
create index structure_events_workspace on structure_events (workspace_id, created_at);

-- One row for each answer that was given. Ids are UUIDs of version 7: their order is the order in time.
create table decisions (
    id              text not null primary key,
    decided_at      text not null,
    uid             text,
    hook            text not null,
    caller          text not null,
    caller_proof    text not null,
    workspace_id    text not null,
    kind            text not null,
    allowed         integer not null check (allowed in (0, 1)),
    code            text,
    reason          text,
    policy_revision text not null,
    marked_failed   integer not null check (marked_failed in (0, 1)),
    violations      text not null check (json_valid(violations)),
    event_id        text,
    event           text check (json_valid(event)),
    input           text not null check (json_valid(input)),
    facts_us        integer not null,
    policy_us       integer not null,
    check ((event_id is null) = (event is null))
) strict;
create index decisions_workspace on decisions (workspace_id, id);

-- Which decision answered a registry's request id. The primary key is what keeps one request from being
-- decided twice.
create table request_uids (
    uid         text not null primary key,
    digest      blob not null check (length(digest) = 32),
    decision_id text not null,
    decided_at  text not null
) strict, without rowid;

-- What was announced, in the order in which it happened; a live stream resumes at a seq, and AUTOINCREMENT
-- keeps a seq from ever being given twice.
create table events (
    seq          integer primary key autoincrement,
    id           text not null unique,
    workspace_id text not null,
    event_type   text not null,
    decision_id  text not null,
    message      text not null check (json_valid(message)),
    created_at   text not null
) strict;

-- +goose Down
drop table events;
drop table request_uids;
drop table decisions;
drop table structure_events;
drop table workspace_secrets;
drop table workspaces;
