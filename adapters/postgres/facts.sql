-- What is known of one workspace, in one statement and so in one snapshot: a secret cannot come or go between
-- the row and its keys.
--
-- An operator's own query (--facts-query-file) must keep this contract:
--   * one parameter, $1, the workspace's uuid;
--   * always exactly one row, also for a workspace that does not exist;
--   * the columns, in any order:
--       exists              boolean         is there such a workspace; never NULL
--       workspace           json or jsonb   an object with at least "kind"; not read if there is no workspace
--       secret_keys         text[]          names of the workspace's secrets
--       global_secret_keys  text[]          names of the secrets that all workspaces share
--   * never a value of a secret.
-- What it returns is what the policies see. Leave out what moves on its own (heartbeats, updated_at): facts that
-- differ from those that were judged are judged again before a workspace is marked failed.
--
-- status is an enum, hence ::text. jsonb gives equal rows equal text.
select
    w.id is not null as "exists",
    case when w.id is not null then jsonb_build_object(
        'name', w.name,
        'kind', w.kind,
        'status', w.status::text,
        'tier', w.tier,
        'runtime', w.runtime,
        'role', w.role,
        'url', w.url,
        'parent_id', w.parent_id,
        'workspace_access', w.workspace_access,
        'workspace_dir', w.workspace_dir,
        'budget_limit', w.budget_limit,
        'monthly_spend', w.monthly_spend,
        'delivery_mode', w.delivery_mode,
        'last_sample_error', w.last_sample_error
    ) end as workspace,
    array(select s.key from workspace_secrets s where s.workspace_id = asked.id) as secret_keys,
    array(select g.key from global_secrets g) as global_secret_keys
from (select $1::uuid as id) asked
left join workspaces w on w.id = asked.id
