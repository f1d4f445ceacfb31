-- What the verdicts of an audit depend on besides its policies, and whether servers had these live. saas is null and
-- facts_revision empty where they were not kept.

-- +goose Up
alter table audit_runs add column candidate integer not null default 0 check (candidate in (0, 1));
alter table audit_runs add column saas integer check (saas in (0, 1));
alter table audit_runs add column facts_revision text not null default '';

-- +goose Down
alter table audit_runs drop column facts_revision;
alter table audit_runs drop column saas;
alter table audit_runs drop column candidate;
