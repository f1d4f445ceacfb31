-- By which names the caller of a review knows it.

-- +goose Up
alter table gatehouse.decisions add column request_id text, add column traceparent text;
comment on column gatehouse.decisions.request_id is 'X-Request-Id of the request, the caller''s or one that was made for it; null if there was no request';
comment on column gatehouse.decisions.traceparent is 'the caller''s, as of version 00 of W3C''s Trace Context; null if there was none';

-- +goose Down
alter table gatehouse.decisions drop column request_id, drop column traceparent;
