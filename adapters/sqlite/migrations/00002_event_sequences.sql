-- Events get a number per workspace, and the hook of their decision. SQLite adds no column that is "not null"
-- and has no default, so the table is made again.

-- +goose Up
create table events_2 (
    seq           integer primary key autoincrement,
    id            text not null unique,
    workspace_id  text not null,
    -- Counts the events of one workspace from 1 without gaps. The next is the highest and one, so a workspace's
    -- last event is never deleted.
    workspace_seq integer not null,
    event_type    text not null,
    decision_id   text not null,
    hook          text not null,
    message       text not null check (json_valid(message)),
    created_at    text not null
) strict;

insert into events_2 (seq, id, workspace_id, workspace_seq, event_type, decision_id, hook, message, created_at)
select e.seq, e.id, e.workspace_id, row_number() over (partition by e.workspace_id order by e.seq), e.event_type,
       e.decision_id, coalesce((select d.hook from decisions d where d.id = e.decision_id), ''), e.message, e.created_at
from events e
order by e.seq;

-- The highest seq that was ever given, which may be that of a row that is gone.
delete from sqlite_sequence where name = 'events_2';
insert into sqlite_sequence (name, seq) select 'events_2', seq from sqlite_sequence where name = 'events';

drop table events;
alter table events_2 rename to events;
create unique index events_workspace_seq on events (workspace_id, workspace_seq);

-- +goose Down
drop index events_workspace_seq;
alter table events drop column workspace_seq;
alter table events drop column hook;
