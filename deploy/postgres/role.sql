-- The database role that gatehouse serves as: what it needs and nothing else. It cannot read the value of a
-- secret, cannot change a workspace but to mark it failed, and cannot change the registry's tables.
--
-- Run this on the registry's database as the role that owns its tables, once, and again at any time:
--     psql "$REGISTRY_DATABASE_URL" --file role.sql
-- then give the role a password (\password gatehouse), and migrate as the owner, because the role cannot:
--     gatehouse migrate --database-url "$REGISTRY_DATABASE_URL"
-- The default privileges below hold for tables that the role which runs this file creates, so migrate as the
-- same one. With a facts query of your own, grant what that reads instead of what the built-in one does.

do $$
begin
    if not exists (select from pg_roles where rolname = 'gatehouse') then
        create role gatehouse login;
    end if;
end
$$;

-- Facts: the columns that the built-in query reads. No agent card, no timestamps.
grant select (
    id, name, kind, status, tier, runtime, role, url, parent_id, workspace_access, workspace_dir,
    budget_limit, monthly_spend, delivery_mode, last_sample_error
) on workspaces to gatehouse;
grant select (workspace_id, key) on workspace_secrets to gatehouse;
grant select (key) on global_secrets to gatehouse;

-- Marking a workspace failed. The right to update is also what locking the row takes.
grant update (status, last_sample_error, updated_at) on workspaces to gatehouse;
grant insert (id, event_type, workspace_id, payload, created_at) on structure_events to gatehouse;

-- What is Gatehouse's own: decisions, uids, the ledger of events, the outbox and its jobs.
create schema if not exists gatehouse;
grant usage on schema gatehouse to gatehouse;
grant select, insert, update, delete on all tables in schema gatehouse to gatehouse;
grant usage, select on all sequences in schema gatehouse to gatehouse;
grant execute on all functions in schema gatehouse to gatehouse;
alter default privileges in schema gatehouse grant select, insert, update, delete on tables to gatehouse;
alter default privileges in schema gatehouse grant usage, select on sequences to gatehouse;
-- Decisions are in partitions by day. Making and dropping them takes the rights of the owner, and two functions have
-- these; they do it for nobody but this role and the owner, and drop nothing of the last day.
alter default privileges in schema gatehouse grant execute on functions to gatehouse;
