-- +goose Up
-- A replica of the version before cannot write events any more: it answers a deny that marks with an error
-- until it is replaced, which is the safe side.
alter table gatehouse.events add column workspace_seq bigint, add column hook text;

-- The events of one workspace were written one after the other, under the lock of its row, so the order of seq
-- is theirs. Only a decision knows which hook it was.
update gatehouse.events e
set workspace_seq = numbered.position,
    hook = coalesce((select d.hook from gatehouse.decisions d where d.id = e.decision_id), '')
from (
    select seq, row_number() over (partition by workspace_id order by seq) as position from gatehouse.events
) numbered
where numbered.seq = e.seq;

alter table gatehouse.events
    alter column workspace_seq set not null,
    alter column hook set not null,
    add constraint events_workspace_seq unique (workspace_id, workspace_seq);
comment on column gatehouse.events.seq is 'the order of all events, with gaps; a lower one may be committed after a higher one';
comment on column gatehouse.events.workspace_seq is
    'counts the events of one workspace from 1 without gaps; the next is the highest and one, so never delete a workspace''s last event';
comment on column gatehouse.events.hook is 'of the decision; empty if it was not known when this column came';

-- +goose Down
alter table gatehouse.events drop constraint events_workspace_seq, drop column workspace_seq, drop column hook;
