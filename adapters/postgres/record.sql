-- Writes a batch of decisions, all of it or nothing; "refused" are those that it does not write because their uid has
-- been answered to the same caller before. An error (error_code) is no answer to a uid: it neither claims it nor minds who has.
--
-- An insert of a uid waits for another transaction that is about to commit the same one, so of two requests
-- with one uid exactly one gets it, in this batch or any other. Uids are claimed in order, lest two batches
-- wait for each other. A decision that comes again because its first commit went unheard is refused like any other
-- whose uid was answered.
with given as (
    select *
    from unnest(
        $1::uuid[], $2::timestamptz[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::uuid[],
        $9::text[], $10::boolean[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::json[],
        $16::uuid[], $17::json[], $18::json[], $19::bigint[], $20::bigint[], $21::boolean[],
        $22::text[], $23::text[], $24::json[], $25::text[], $26::text[]
    ) as given (
        id, decided_at, uid, digest, hook, caller, caller_proof, workspace_id,
        kind, allowed, code, reason, policy_revision, marked_failed, violations,
        event_id, event, input, facts_us, policy_us, dry_run, error_code, error_detail, redaction, request_id, traceparent
    )
),
claimed as (
    insert into gatehouse.request_uids (uid, caller, digest, decision_id, decided_at)
    select uid, caller, digest, id, decided_at from given where uid is not null and error_code is null order by uid, caller
    on conflict (uid, caller) do nothing
    returning decision_id
),
written as (
    insert into gatehouse.decisions (
        id, decided_at, uid, hook, caller, caller_proof, workspace_id,
        kind, allowed, code, reason, policy_revision, marked_failed, violations,
        event_id, event, input, facts_us, policy_us, dry_run, error_code, error_detail, redaction, request_id, traceparent
    )
    select
        id, decided_at, uid, hook, caller, caller_proof, workspace_id,
        kind, allowed, code, reason, policy_revision, marked_failed, violations,
        event_id, event, input, facts_us, policy_us, dry_run, error_code, error_detail, redaction, request_id, traceparent
    from given
    where uid is null or error_code is not null or id in (select decision_id from claimed)
),
refused as (
    select id, uid from given
    where uid is not null and error_code is null and id not in (select decision_id from claimed)
)
