-- Decisions become evidence that is listed, streamed, shipped and replayed, errors are recorded beside answers, and
-- audits of all workspaces are kept. SQLite neither adds a primary key nor takes back a "not null", so the table of
-- decisions is made again.

-- +goose Up
create table decisions_2 (
    -- The order in which decisions were written, which is that of the commits: one transaction writes at a time.
    -- AUTOINCREMENT keeps a seq from being given twice once old decisions are deleted, so that who reads on after a
    -- seq misses none.
    seq             integer primary key autoincrement,
    -- A UUID of version 7: the order of ids is the order in time.
    id              text not null,
    decided_at      text not null,
    uid             text,
    hook            text not null,
    caller          text not null,
    caller_proof    text not null,
    workspace_id    text not null,
    kind            text not null,
    -- Null where an error was answered, which is no verdict.
    allowed         integer check (allowed in (0, 1)),
    -- Of the violation that denied, or of the error that was answered; null for an allow.
    code            text,
    reason          text,
    error_code      text,
    error_detail    text,
    policy_revision text not null,
    marked_failed   integer not null check (marked_failed in (0, 1)),
    dry_run         integer not null check (dry_run in (0, 1)),
    violations      text not null check (json_valid(violations)),
    event_id        text,
    event           text check (json_valid(event)),
    facts_us        integer not null,
    policy_us       integer not null,
    -- JSON pointers of what the input lacks, null for nothing.
    erased          text check (json_valid(erased)),
    masked          text check (json_valid(masked)),
    -- Last, because it is long: who looks at the other columns does not read the pages that it runs over to.
    input           text not null check (json_valid(input)),
    check ((event_id is null) = (event is null)),
    check ((allowed is null) = (error_code is not null)),
    check ((error_code is null) = (error_detail is null)),
    check (error_code is null or code = error_code)
) strict;

insert into decisions_2 (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
                         policy_revision, marked_failed, dry_run, violations, event_id, event, facts_us, policy_us, input)
select id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
       policy_revision, marked_failed, dry_run, violations, event_id, event, facts_us, policy_us, input
from decisions
order by id;

drop table decisions;
alter table decisions_2 rename to decisions;

-- Every listing is in order of ids, so every index ends with one. The last four are of the few decisions that are
-- no plain allows: those pay for one index less each time. By uid, answers are found through request_uids.
create unique index decisions_id on decisions (id);
create index decisions_workspace on decisions (workspace_id, id);
create index decisions_hook on decisions (hook, id);
create index decisions_code on decisions (code, id) where code is not null;
create index decisions_denied on decisions (id) where allowed = 0;
create index decisions_failed on decisions (id) where error_code is not null;
create index decisions_failed_uid on decisions (uid, id) where error_code is not null and uid is not null;

-- Up to which seq a collector has been sent all decisions.
create table shipped_decisions (
    collector text not null primary key,
    seq       integer not null
) strict, without rowid;

-- One row for each time that all stored workspaces were evaluated; cursor is the last that has been. Only the newest
-- runs are kept.
create table audit_runs (
    id              text not null primary key,
    hook            text not null,
    state           text not null check (state in ('running', 'finished', 'abandoned')),
    enforce         integer not null check (enforce in (0, 1)),
    policy_revision text not null,
    started_at      text not null,
    updated_at      text not null,
    finished_at     text,
    worked_us       integer not null,
    cursor          text not null,
    evaluated       integer not null,
    denied          integer not null,
    warned          integer not null,
    failed          integer not null,
    marked          integer not null,
    violations      text not null check (json_valid(violations))
) strict, without rowid;

-- What a run found. They come in order of workspaces, so that the primary key grows at its end.
create table audit_findings (
    run_id           text not null,
    workspace_id     text not null,
    kind             text not null,
    workspace_status text not null,
    denied           integer not null check (denied in (0, 1)),
    code             text not null,
    violations       text not null check (json_valid(violations)),
    error_code       text,
    marked           integer not null check (marked in (0, 1)),
    decision_id      text,
    primary key (run_id, workspace_id)
) strict, without rowid;
create index audit_findings_code on audit_findings (run_id, code, workspace_id);

-- +goose Down
drop table audit_findings;
drop table audit_runs;
drop table shipped_decisions;

create table decisions_1 (
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
    dry_run         integer not null default 0 check (dry_run in (0, 1)),
    check ((event_id is null) = (event is null))
) strict;

-- Errors have no place in the earlier table and are lost, as is what was known of what inputs lack.
insert into decisions_1 (id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
                         policy_revision, marked_failed, violations, event_id, event, input, facts_us, policy_us, dry_run)
select id, decided_at, uid, hook, caller, caller_proof, workspace_id, kind, allowed, code, reason,
       policy_revision, marked_failed, violations, event_id, event, input, facts_us, policy_us, dry_run
from decisions
where error_code is null
order by id;

drop table decisions;
alter table decisions_1 rename to decisions;
create index decisions_workspace on decisions (workspace_id, id);
