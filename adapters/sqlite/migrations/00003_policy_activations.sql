-- +goose Up

-- Which policies became live when, and which were refused: a decision names a revision, and this says where that
-- came from. The oldest are deleted.
create table policy_activations (
    id       text not null primary key,
    at       text not null,
    source   text not null,
    revision text not null,
    result   text not null check (result in ('activated', 'refused')),
    reason   text not null
) strict;

-- +goose Down
drop table policy_activations;
