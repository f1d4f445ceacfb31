-- +goose Up
alter table gatehouse.audit_runs
    add column candidate      boolean not null default false,
    add column saas           boolean,
    add column facts_revision text not null default '';
comment on column gatehouse.audit_runs.candidate is 'the policies were not those that servers had live';
comment on column gatehouse.audit_runs.saas is 'of the deployment that verdicts were given for; null if it was not kept';
comment on column gatehouse.audit_runs.facts_revision is 'of the query for facts; empty if it was not kept';

-- +goose Down
alter table gatehouse.audit_runs drop column candidate, drop column saas, drop column facts_revision;
