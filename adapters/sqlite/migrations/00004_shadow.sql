-- +goose Up

-- By a server that ran with --dry-run: recorded as decided, and answered as an allow without any effect.
alter table decisions add column dry_run integer not null default 0 check (dry_run in (0, 1));

-- Reviews of which candidate policies (--shadow-policies) said something else than the live ones. The oldest are
-- deleted. live and candidate are the violations of each.
create table shadow_divergences (
    id                 text not null primary key,
    decided_at         text not null,
    kind               text not null check (kind in ('deny_to_allow', 'allow_to_deny', 'changed', 'error')),
    rule               text not null,
    code               text not null,
    decision_id        text not null,
    workspace_id       text not null,
    hook               text not null,
    live_revision      text not null,
    live               text not null check (json_valid(live)),
    candidate_revision text not null,
    candidate          text not null check (json_valid(candidate)),
    error              text
) strict;
create index shadow_divergences_pair on shadow_divergences (live_revision, candidate_revision, kind, rule, code, id);
create index shadow_divergences_age on shadow_divergences (decided_at);

-- How many reviews each candidate was shown beside each live revision.
create table shadow_counts (
    live_revision      text not null,
    candidate_revision text not null,
    evaluated          integer not null,
    diverged           integer not null,
    failed             integer not null,
    dropped            integer not null,
    updated_at         text not null,
    primary key (live_revision, candidate_revision)
) strict, without rowid;

-- +goose Down
drop table shadow_counts;
drop table shadow_divergences;
alter table decisions drop column dry_run;
