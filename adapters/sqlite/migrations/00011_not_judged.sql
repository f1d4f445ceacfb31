-- Rules that stored workspaces were not held to, with what they read of a request.

-- +goose Up
alter table audit_runs add column not_judged text not null default '[]';

-- +goose Down
alter table audit_runs drop column not_judged;
