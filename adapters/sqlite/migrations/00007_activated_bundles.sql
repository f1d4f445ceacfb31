-- +goose Up

-- Of bundles that became live: what their author calls them, when they were built, and the fingerprint of the key that
-- verified them (empty if none did). A signed one that is older than the last must not become live again.
alter table policy_activations add column bundle_revision text;
alter table policy_activations add column built_at text;
alter table policy_activations add column signed_by text;

-- +goose Down
alter table policy_activations drop column bundle_revision;
alter table policy_activations drop column built_at;
alter table policy_activations drop column signed_by;
