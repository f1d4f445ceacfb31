-- A uid belongs to the caller that gave it: two callers that count their requests from 1 do not meet. Those that are
-- there belong to the callers of their decisions. SQLite changes no primary key, so the table is made again.

-- +goose Up
create table request_uids_2 (
    uid         text not null,
    caller      text not null,
    digest      blob not null check (length(digest) = 32),
    decision_id text not null,
    decided_at  text not null,
    -- The uid comes first, because decisions are listed by it alone.
    primary key (uid, caller)
) strict, without rowid;
insert into request_uids_2 (uid, caller, digest, decision_id, decided_at)
select u.uid, d.caller, u.digest, u.decision_id, u.decided_at
from request_uids u join decisions d on d.id = u.decision_id;
drop table request_uids;
alter table request_uids_2 rename to request_uids;

-- +goose Down
create table request_uids_1 (
    uid         text not null primary key,
    digest      blob not null check (length(digest) = 32),
    decision_id text not null,
    decided_at  text not null
) strict, without rowid;
-- Only one of the callers can keep a uid: who gave it first.
insert into request_uids_1 (uid, digest, decision_id, decided_at)
select uid, digest, decision_id, decided_at from request_uids where true order by decided_at, caller
on conflict (uid) do nothing;
drop table request_uids;
alter table request_uids_1 rename to request_uids;
