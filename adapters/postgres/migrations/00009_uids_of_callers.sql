-- +goose Up
-- A uid belongs to the caller that gave it: two callers that count their requests from 1 do not meet. Those that are
-- there belong to the callers of their decisions. A uid without its decision could be neither answered nor decided.
-- The uid comes first in the key, because decisions are listed by it alone.
--
-- Every row changes, so the indexes are made again: to keep them meanwhile takes twice as long.
alter table gatehouse.request_uids drop constraint request_uids_pkey, add column caller text;
drop index gatehouse.request_uids_age;
update gatehouse.request_uids u set caller = d.caller from gatehouse.decisions d where d.id = u.decision_id;
delete from gatehouse.request_uids where caller is null;
alter table gatehouse.request_uids alter column caller set not null, add primary key (uid, caller);
create index request_uids_age on gatehouse.request_uids (decided_at);
comment on table gatehouse.request_uids is
    'The uids that were answered: the same uid of the same caller again gets the same decision.';
comment on column gatehouse.request_uids.caller is 'whose uid it is, as in decisions';

-- +goose Down
-- Only one of the callers can keep a uid: who gave it first.
delete from gatehouse.request_uids u using gatehouse.request_uids other
where other.uid = u.uid and (other.decided_at, other.caller) < (u.decided_at, u.caller);
alter table gatehouse.request_uids
    drop constraint request_uids_pkey,
    add primary key (uid),
    drop column caller;
comment on table gatehouse.request_uids is 'The uids that were answered: the same uid again gets the same decision.';
