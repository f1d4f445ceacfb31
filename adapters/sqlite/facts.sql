-- What policies may know of a workspace: one statement, hence one snapshot, and one row whether the workspace
-- is stored or not. A query of your own (facts-query-file) has the same shape: the one parameter $1 is the
-- workspace's id as canonical text, and the columns are exists (0 or 1), workspace (a JSON object),
-- secret_keys and global_secret_keys (JSON arrays of texts).
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
