-- +goose Up
alter table gatehouse.decisions add column dry_run boolean not null default false;
comment on column gatehouse.decisions.dry_run is
    'by a server that ran with --dry-run: recorded as decided, and answered as an allow without any effect';

create table gatehouse.shadow_divergences (
    id                 uuid primary key,
    decided_at         timestamptz not null,
    kind               text not null,
    rule               text not null,
    code               text not null,
    decision_id        uuid not null,
    workspace_id       uuid not null,
    hook               text not null,
    live_revision      text not null,
    live               json not null,
    candidate_revision text not null,
    candidate          json not null,
    error              text
);
create index shadow_divergences_pair on gatehouse.shadow_divergences (live_revision, candidate_revision, kind, rule, code, id);
create index shadow_divergences_age on gatehouse.shadow_divergences (decided_at);
comment on table gatehouse.shadow_divergences is
    'Reviews of which candidate policies (--shadow-policies) said something else than the live ones. The oldest are deleted.';
comment on column gatehouse.shadow_divergences.id is 'uuid version 7: ordered by time';
comment on column gatehouse.shadow_divergences.kind is 'deny_to_allow, allow_to_deny, changed, or error: the candidate gave no verdict';
comment on column gatehouse.shadow_divergences.rule is 'whose violation makes the difference; empty for an error';
comment on column gatehouse.shadow_divergences.decision_id is
    'the decision, which was recorded before; it may be deleted earlier than this row';
comment on column gatehouse.shadow_divergences.live is 'the violations of the live policies';
comment on column gatehouse.shadow_divergences.candidate is 'the violations of the candidate; empty for an error';

create table gatehouse.shadow_counts (
    live_revision      text not null,
    candidate_revision text not null,
    evaluated          bigint not null,
    diverged           bigint not null,
    failed             bigint not null,
    dropped            bigint not null,
    updated_at         timestamptz not null,
    primary key (live_revision, candidate_revision)
);
comment on table gatehouse.shadow_counts is 'How many reviews each candidate was shown beside each live revision, by all replicas together.';

-- +goose Down
drop table gatehouse.shadow_counts;
drop table gatehouse.shadow_divergences;
alter table gatehouse.decisions drop column dry_run;
