-- +goose Up
create table gatehouse.prune_clock (
    only_one boolean primary key default true check (only_one),
    trusted  timestamptz not null,
    doubted  timestamptz
);
comment on table gatehouse.prune_clock is 'By which time old decisions were last deleted: a clock that has leapt is not believed at once.';
comment on column gatehouse.prune_clock.doubted is 'what the clock said when it was first not believed; null if it is';
-- Who may write decisions may keep it: a role of before this table needs no other grant.
-- +goose StatementBegin
do $$
declare
    writer regrole;
begin
    for writer in
        select distinct a.grantee::regrole from pg_class c, aclexplode(c.relacl) a
        where c.oid = 'gatehouse.decisions'::regclass and a.privilege_type = 'INSERT' and a.grantee <> 0
    loop
        execute format('grant select, insert, update on gatehouse.prune_clock to %s', writer);
    end loop;
end
$$;
-- +goose StatementEnd

-- +goose Down
drop table gatehouse.prune_clock;
