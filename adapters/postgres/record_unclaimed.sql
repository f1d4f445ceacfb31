-- record.sql for decisions that claim no uid, which costs the server a third less. There is no "on conflict (id) do nothing",
-- though a decision can come again whose first commit went unheard: it would cost each row a quarter more, and who comes
-- alone is told by the error that it is there already.
insert into gatehouse.decisions (
    id, decided_at, uid, hook, caller, caller_proof, workspace_id,
    kind, allowed, code, reason, policy_revision, marked_failed, violations,
    event_id, event, input, facts_us, policy_us, dry_run, error_code, error_detail, redaction, request_id, traceparent
)
select *
from unnest(
    $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
    $8::text[], $9::boolean[], $10::text[], $11::text[], $12::text[], $13::boolean[], $14::json[],
    $15::uuid[], $16::json[], $17::json[], $18::bigint[], $19::bigint[], $20::boolean[],
    $21::text[], $22::text[], $23::json[], $24::text[], $25::text[]
)
