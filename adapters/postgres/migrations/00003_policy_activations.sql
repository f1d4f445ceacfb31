-- +goose Up
create table gatehouse.policy_activations (
    id       uuid primary key,
    at       timestamptz not null,
    source   text not null,
    revision text not null,
    result   text not null check (result in ('activated', 'refused')),
    reason   text not null
);
comment on table gatehouse.policy_activations is
    'Which policies became live when, and which were refused, in any of the replicas. The oldest are deleted.';
comment on column gatehouse.policy_activations.id is 'uuid version 7: ordered by time';
comment on column gatehouse.policy_activations.revision is
    'as decisions name it; empty when policies were refused before their content was known';
comment on column gatehouse.policy_activations.reason is 'why they were refused; empty when they became live';

-- +goose Down
drop table gatehouse.policy_activations;
