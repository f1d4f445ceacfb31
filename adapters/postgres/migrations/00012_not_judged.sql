-- +goose Up
alter table gatehouse.audit_runs add column not_judged jsonb not null default '[]';
comment on column gatehouse.audit_runs.not_judged is 'rules that stored workspaces were not held to, with what they read of a request';

-- +goose Down
alter table gatehouse.audit_runs drop column not_judged;
