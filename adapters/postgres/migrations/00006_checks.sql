-- +goose Up
-- What a transaction's last statements must have done is checked by the server, so that they and the commit can go to
-- it together: what raises an error here makes that commit a rollback.
-- +goose StatementBegin
create function gatehouse.expect(changed bigint, wanted bigint, what text) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if changed is distinct from wanted then
        raise exception '%: % rows were changed instead of %', what, changed, wanted using errcode = 'GH001';
    end if;
end
$$;
-- +goose StatementEnd
comment on function gatehouse.expect is 'Raises GH001 unless as many rows were changed as were to be.';

-- +goose StatementBegin
create function gatehouse.refuse_uid(uid text) returns uuid
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'the uid was answered before' using errcode = 'GH002';
end
$$;
-- +goose StatementEnd
comment on function gatehouse.refuse_uid is 'Raises GH002.';

-- +goose Down
drop function gatehouse.refuse_uid, gatehouse.expect;
