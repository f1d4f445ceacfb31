-- +goose Up
-- Ids are made of times, so a day is a range of ids: a look-up by id reads one partition, and a day that is too old
-- goes as a whole. What was there before stays where it is, as the partition of everything up to tomorrow; only its
-- new indexes are built.
create sequence gatehouse.decisions_seq as bigint;

alter table gatehouse.decisions rename to decisions_before;
alter index gatehouse.decisions_pkey rename to decisions_before_pkey;
alter table gatehouse.decisions_before
    add column error_code text,
    add column error_detail text,
    add column redaction json,
    add column seq bigint not null default 0, -- a constant: numbering the old rows would copy the table
    alter column allowed drop not null;
comment on column gatehouse.decisions_before.allowed is 'null if an error was answered';
comment on column gatehouse.decisions_before.code is 'of the violation that denied or of the error that was answered; null if allowed';
comment on column gatehouse.decisions_before.error_code is 'of the error that was answered; null for an allow or a deny';
comment on column gatehouse.decisions_before.error_detail is 'what the caller was told of the error';
comment on column gatehouse.decisions_before.redaction is
    'JSON pointers of what of the input is not as it was evaluated (erased, masked); null if it is whole';
comment on column gatehouse.decisions_before.seq is
    'the order of all decisions, with gaps; a lower one may be committed after a higher one; 0 if older than this column';

create table gatehouse.decisions (like gatehouse.decisions_before including defaults including comments)
    partition by range (id);
comment on table gatehouse.decisions is
    'Every decision and error that was answered; decisions are written before their answer. Rows are never updated.';
alter table gatehouse.decisions
    add primary key (id),
    -- An identity column would say the same, if partitioned tables could have one before Postgres 17.
    alter column seq set default nextval('gatehouse.decisions_seq');
alter sequence gatehouse.decisions_seq owned by gatehouse.decisions.seq;
-- An allow, which most are, is written into the first three of these alone.
create index decisions_seq_key on gatehouse.decisions (seq);
create index decisions_workspace on gatehouse.decisions (workspace_id, id);
create index decisions_code on gatehouse.decisions (code, id) where code is not null;
create index decisions_denied on gatehouse.decisions (id) where not allowed;
create index decisions_failed on gatehouse.decisions (id) where error_code is not null;
-- The uid of an answer is found through request_uids; that of an error is not claimed there.
create index decisions_failed_uid on gatehouse.decisions (uid) where error_code is not null;
create index request_uids_age on gatehouse.request_uids (decided_at);

-- No insert fails for want of a partition.
create table gatehouse.decisions_default partition of gatehouse.decisions default;

-- +goose StatementBegin
create function gatehouse.first_decision_id(at timestamptz) returns uuid
language sql immutable strict parallel safe as $$
    select (lpad(to_hex(greatest(floor(extract(epoch from at) * 1000), 0)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
-- +goose StatementEnd
comment on function gatehouse.first_decision_id is 'The least id that a decision of this millisecond or later can have.';

-- +goose StatementBegin
create function gatehouse.decision_day(at timestamptz) returns timestamptz
language sql immutable strict parallel safe as $$ select date_trunc('day', at at time zone 'UTC') at time zone 'UTC' $$;
-- +goose StatementEnd
comment on function gatehouse.decision_day is 'The beginning of the day, by UTC.';

-- Rows whose ids are not of about their time may lie behind the bound; there are none unless somebody's clock was wrong.
-- +goose StatementBegin
do $$
declare
    bound constant uuid := gatehouse.first_decision_id(gatehouse.decision_day(now()) + interval '1 day');
begin
    with misplaced as (delete from gatehouse.decisions_before where id >= bound returning *)
    insert into gatehouse.decisions_default select * from misplaced;
    execute format('alter table gatehouse.decisions attach partition gatehouse.decisions_before for values from (minvalue) to (%L)', bound);
end
$$;
-- +goose StatementEnd

create view gatehouse.decision_partitions as
select
    c.relname as name,
    substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \(''([0-9a-f-]+)''\)')::uuid as first_id,
    substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''([0-9a-f-]+)''\)')::uuid as end_id
from pg_inherits i
join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'gatehouse.decisions'::regclass;
comment on view gatehouse.decision_partitions is
    'The partitions of the decisions: ids from first_id (null for no bound) to before end_id; both null for the default.';

-- +goose StatementBegin
create function gatehouse.create_decision_partition(at timestamptz) returns text
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    starts constant timestamptz := gatehouse.decision_day(at);
    first_id constant uuid := gatehouse.first_decision_id(starts);
    end_id constant uuid := gatehouse.first_decision_id(starts + interval '1 day');
    name constant text := 'decisions_' || to_char(starts at time zone 'UTC', 'YYYYMMDD');
begin
    execute format('create table gatehouse.%I (like gatehouse.decisions including defaults including comments)', name);
    lock table gatehouse.decisions_default in access exclusive mode;
    execute format('with moved as (delete from gatehouse.decisions_default where id >= %L and id < %L returning *)
        insert into gatehouse.%I select * from moved', first_id, end_id, name);
    -- Unlike "create table … partition of", this lets inserts into the other partitions go on.
    execute format('alter table gatehouse.decisions attach partition gatehouse.%I for values from (%L) to (%L)',
        name, first_id, end_id);
    return name;
end
$$;
-- +goose StatementEnd
comment on function gatehouse.create_decision_partition is
    'Makes the partition of a day, and moves there what of it lies in the default partition. Needs the rights of the owner.';

-- The role that serves has no right to change tables. What it may do instead is in these two functions, which have
-- the rights of the role that migrates, and trust no argument. lock_timeout: whoever inserts waits behind a lock that
-- is waited for here. What is not got in this time is tried again later.
-- +goose StatementBegin
create function gatehouse.extend_decisions(today timestamptz) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    made text[] := '{}';
    day timestamptz;
begin
    if today is null or today not between clock_timestamp() - interval '1 day' and clock_timestamp() + interval '1 day' then
        raise exception 'it is not %: the clocks of the database and of its client differ by more than a day', today
            using errcode = 'invalid_parameter_value';
    end if;
    lock table only gatehouse.decisions in share update exclusive mode;
    for n in 0..7 loop
        day := gatehouse.decision_day(today) + n * interval '1 day';
        continue when exists (
            select from gatehouse.decision_partitions p
            where p.end_id > gatehouse.first_decision_id(day)
                and (p.first_id is null or p.first_id < gatehouse.first_decision_id(day + interval '1 day'))
        );
        made := made || gatehouse.create_decision_partition(day);
    end loop;
    return made;
end
$$;
-- +goose StatementEnd
comment on function gatehouse.extend_decisions is
    'Makes the partitions of today and the seven days that follow, where there are none, and gives their names.';

-- +goose StatementBegin
create function gatehouse.drop_decisions(before timestamptz) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '200ms' as $$
declare
    oldest text;
begin
    if before is null or before > clock_timestamp() - interval '1 day' then
        raise exception 'decisions of the last day are never dropped' using errcode = 'invalid_parameter_value';
    end if;
    select p.name into oldest from gatehouse.decision_partitions p
    where p.end_id <= gatehouse.first_decision_id(before) order by p.end_id limit 1;
    if found then
        lock table only gatehouse.decisions in access exclusive mode;
        execute format('drop table if exists gatehouse.%I', oldest);
    end if;
    return oldest;
end
$$;
-- +goose StatementEnd
comment on function gatehouse.drop_decisions is
    'Drops the oldest partition whose decisions are all older than a time, and gives its name; null if there is none.';

revoke execute on function gatehouse.create_decision_partition, gatehouse.extend_decisions, gatehouse.drop_decisions from public;
-- Who may write decisions may make room for them: a role of before these functions needs no other grant.
-- +goose StatementBegin
do $$
declare
    writer regrole;
begin
    for writer in
        select distinct a.grantee::regrole from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'gatehouse.decisions_before'::regclass and a.privilege_type = 'INSERT' and a.grantee <> 0
    loop
        execute format('grant execute on function gatehouse.extend_decisions, gatehouse.drop_decisions to %s', writer);
    end loop;
end
$$;
-- +goose StatementEnd

create table gatehouse.shipped (
    collector text primary key,
    seq       bigint not null
);
comment on table gatehouse.shipped is 'Up to which seq decisions have been shipped to a collector of decision logs.';

create table gatehouse.audit_runs (
    id              uuid primary key,
    hook            text not null,
    state           text not null,
    enforce         boolean not null,
    policy_revision text not null,
    started_at      timestamptz not null,
    updated_at      timestamptz not null,
    finished_at     timestamptz,
    worked_us       bigint not null,
    cursor          uuid not null,
    evaluated       bigint not null,
    denied          bigint not null,
    warned          bigint not null,
    failed          bigint not null,
    marked          bigint not null,
    violations      json not null
);
comment on table gatehouse.audit_runs is 'Looks at every stored workspace with one revision of the policies. The oldest are deleted.';
comment on column gatehouse.audit_runs.id is 'uuid version 7: ordered by time';
comment on column gatehouse.audit_runs.worked_us is 'microseconds, without the time in which the run was interrupted';
comment on column gatehouse.audit_runs.cursor is 'the last workspace that the run has seen';
comment on column gatehouse.audit_runs.violations is 'how many of each code';

create table gatehouse.audit_findings (
    run_id       uuid not null,
    workspace_id uuid not null,
    kind         text not null,
    status       text not null,
    denied       boolean not null,
    code         text not null,
    violations   json not null,
    error        text not null,
    marked       boolean not null,
    decision_id  uuid,
    primary key (run_id, workspace_id)
);
create index audit_findings_code on gatehouse.audit_findings (run_id, code, workspace_id);
comment on table gatehouse.audit_findings is 'The workspaces that a run has something to say of. They go with their run.';
comment on column gatehouse.audit_findings.status is 'of the workspace, as stored when it was looked at';
comment on column gatehouse.audit_findings.code is 'of the violation that denies, else of the first; empty if there is none';
comment on column gatehouse.audit_findings.error is 'why there was no verdict; empty if there was one';
comment on column gatehouse.audit_findings.decision_id is 'of the deny; null if nothing was enforced';

-- +goose Down
drop table gatehouse.audit_findings;
drop table gatehouse.audit_runs;
drop table gatehouse.shipped;
drop function gatehouse.drop_decisions, gatehouse.extend_decisions, gatehouse.create_decision_partition;
drop view gatehouse.decision_partitions;
drop index gatehouse.request_uids_age;
alter table gatehouse.decisions rename to decisions_partitioned;
create table gatehouse.decisions (like gatehouse.decisions_partitioned including comments);
insert into gatehouse.decisions select * from gatehouse.decisions_partitioned where error_code is null;
drop table gatehouse.decisions_partitioned;
alter table gatehouse.decisions
    drop column error_code, drop column error_detail, drop column redaction, drop column seq,
    alter column allowed set not null, alter column dry_run set default false,
    add primary key (id);
drop function gatehouse.decision_day, gatehouse.first_decision_id;
