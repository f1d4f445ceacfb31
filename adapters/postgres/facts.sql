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
-- status is an enum, hence ::text. Equal rows must give equal text, which json of columns in one order does, as jsonb
-- does of any; it takes the server less than half as long.
select
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
    array(select g.key from global_secrets g) as global_secret_keys
from (select $1::uuid as id) asked
left join workspaces w on w.id = asked.id
