-- By which time old decisions were last deleted: a clock that has leapt is not believed at once.

-- +goose Up
create table prune_clock (
    only_one integer not null primary key check (only_one = 1),
    trusted  text not null,
    -- What the clock said when it was first not believed, null if it is.
    doubted  text
) strict;

-- +goose Down
drop table prune_clock;
