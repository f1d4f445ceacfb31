-- A page of stored workspaces with what is known of each: the columns of facts.sql, made of the same rows in the same
-- way, and in one snapshot. Names of global secrets are looked up once for the page.
select
    w.id,
    jsonb_build_object(
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
    ) as workspace,
    array(select s.key from workspace_secrets s where s.workspace_id = w.id) as secret_keys,
    array(select g.key from global_secrets g) as global_secret_keys
from workspaces w
where w.id > $1
order by w.id
limit $2
