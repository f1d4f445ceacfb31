-- facts.sql for many workspaces in one statement and one snapshot. It gives the same, by a test, and the id of
-- each.
select
    asked.id,
    w.id is not null as "exists",
    case when w.id is not null then row_to_json((select members from (select
        w.name,
        w.kind,
        w.status::text,
        w.tier,
        w.runtime,
        w.role,
        w.url,
        w.parent_id,
        w.workspace_access,
        w.workspace_dir,
        w.budget_limit,
        w.monthly_spend,
        w.delivery_mode,
        w.last_sample_error
    ) members)) end as workspace,
    array(select s.key from workspace_secrets s where s.workspace_id = asked.id) as secret_keys,
    globals.keys as global_secret_keys
from unnest((select $1::uuid[])) as asked (id) -- (select …): see mark.go
left join workspaces w on w.id = asked.id
cross join (select array(select g.key from global_secrets g) as keys) globals
