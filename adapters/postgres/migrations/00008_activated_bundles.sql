-- +goose Up
alter table gatehouse.policy_activations
    add column bundle_revision text,
    add column built_at        timestamptz,
    add column signed_by       text;
comment on column gatehouse.policy_activations.bundle_revision is 'what the author of a bundle calls it; null unless a bundle became live';
comment on column gatehouse.policy_activations.built_at is 'when the bundle says it was built: a signed one that is older must not become live again';
comment on column gatehouse.policy_activations.signed_by is 'fingerprint of the key that verified the bundle; empty if none did';

-- +goose Down
alter table gatehouse.policy_activations drop column bundle_revision, drop column built_at, drop column signed_by;
