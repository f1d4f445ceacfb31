-- What is known of one workspace, in one statement and so in one snapshot.
--
-- An operator's own query (--facts-query-file) must keep this contract:
--   * one parameter, $1, the workspace's id as canonical text;
--   * always exactly one row, also for a workspace that does not exist;
--   * the columns, in any order:
--       exists              0 or 1             is there such a workspace
--       workspace           JSON object        with at least "kind"; not read if there is no workspace
--       secret_keys         JSON array, texts  names of the workspace's secrets
--       global_secret_keys  JSON array, texts  names of the secrets that all workspaces share
--   * never a value of a secret.
-- It is asked over a connection that cannot write. What it returns is what the policies see. Leave out what
-- moves on its own (updated_at): facts that differ from those that were judged are judged again before a
-- workspace is marked failed.
select
    w.id is not null as "exists",
    case when w.id is not null then json_object(
        'name', w.name,
        'kind', w.kind,
        'status', w.status,
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
    (select json_group_array(s.key) from workspace_secrets s where s.workspace_id = asked.id) as secret_keys,
    -- The registry tells of the secrets of its workspaces; of global ones nothing is known here.
    '[]' as global_secret_keys
from (select $1 as id) as asked
left join workspaces w on w.id = asked.id
