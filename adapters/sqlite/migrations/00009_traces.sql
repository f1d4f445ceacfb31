-- By which names the caller of a review knows it: X-Request-Id, the caller's or one that was made for it, and
-- traceparent, as of version 00 of W3C's Trace Context. Null if there is none.

-- +goose Up
alter table decisions add column request_id text;
alter table decisions add column traceparent text;

-- +goose Down
alter table decisions drop column traceparent;
alter table decisions drop column request_id;
