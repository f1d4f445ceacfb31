-- facts.sql for many workspaces in one statement and one snapshot. It gives the same, by a test, and the id of
-- each.
select
    asked.id,
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
    globals.keys as global_secret_keys
from unnest((select $1::uuid[])) as asked (id) -- (select …): see mark.go
left join workspaces w on w.id = asked.id
cross join (select array(select g.key from global_secrets g) as keys) globals
