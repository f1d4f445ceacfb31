package history

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

const (
	pruneUIDsSQL = `
delete from gatehouse.request_uids
where ctid = any (array(select ctid from gatehouse.request_uids where decided_at < $1 order by decided_at limit $2))`

	// Partitions without a lower bound are never dropped: new decisions go into them.
	openPartitionsSQL = `select name from gatehouse.decision_partitions where first_id is null`

	pruneDecisionsSQL = `
delete from %[1]s
where id = any (array(select id from %[1]s where id < $1 order by id limit $2))`
)

// pruneBatch rows are deleted well within the time that a statement may take.
const pruneBatch = 5000

// Retention deletes what is too old.
type Retention struct{ pool *connection.Pool }

// PruneDecisions makes the partitions of the days to come, and deletes decisions and uids of the days that were over
// at before: whole partitions where there are, row by row in what is left of the time before there were. A partition
// that a transaction is using stays until the next time. Events of the ledger stay.
//
// The serving role cannot change tables: see the functions of migration 5.
func (r Retention) PruneDecisions(ctx context.Context, now, before time.Time) (ledger.Pruned, error) {
	const right = "prune decisions"
	conn, err := r.pool.TryLock(ctx, right)
	if err != nil || conn == nil {
		return ledger.Pruned{}, err
	}
	defer connection.Unlock(ctx, conn, right)

	_, err = conn.Exec(ctx, "select gatehouse.extend_decisions($1)", now)
	if err != nil && !connection.IsLockTimeout(err) {
		return ledger.Pruned{}, connection.Explain(ctx, fmt.Errorf("making partitions for decisions to come: %w", err))
	}
	const day = 24 * time.Hour
	end := before.UTC().Truncate(day)
	if end.Unix() <= 0 {
		return ledger.Pruned{}, nil
	}
	return pruneBefore(ctx, conn, end)
}

// pruneBefore deletes uids first: a uid without its decision can be asked again, a decision without its uid too, but
// a uid that leads nowhere could be neither answered nor decided.
func pruneBefore(ctx context.Context, conn *pgx.Conn, end time.Time) (ledger.Pruned, error) {
	var pruned ledger.Pruned
	n, err := deleteInBatches(ctx, conn, pruneUIDsSQL, end)
	pruned.UIDs = n
	if err != nil {
		return pruned, connection.Explain(ctx, fmt.Errorf("deleting old uids: %w", err))
	}
	pruned.Partitions, err = dropPartitions(ctx, conn, end)
	if err != nil {
		return pruned, connection.Explain(ctx, fmt.Errorf("dropping old partitions: %w", err))
	}
	rows, err := conn.Query(ctx, openPartitionsSQL)
	if err != nil {
		return pruned, connection.Explain(ctx, fmt.Errorf("listing partitions: %w", err))
	}
	open, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return pruned, connection.Explain(ctx, fmt.Errorf("listing partitions: %w", err))
	}
	first := [16]byte(admission.FirstDecisionID(end))
	for _, partition := range open {
		sql := fmt.Sprintf(pruneDecisionsSQL, pgx.Identifier{"gatehouse", partition}.Sanitize())
		n, err = deleteInBatches(ctx, conn, sql, first)
		pruned.Decisions += n
		if err != nil {
			return pruned, connection.Explain(ctx, fmt.Errorf("deleting old decisions: %w", err))
		}
	}
	return pruned, nil
}

func deleteInBatches(ctx context.Context, conn *pgx.Conn, sql string, before any) (int64, error) {
	var deleted int64
	for {
		tag, err := conn.Exec(ctx, sql, before, pruneBatch)
		if err != nil {
			return deleted, err
		}
		deleted += tag.RowsAffected()
		if tag.RowsAffected() < pruneBatch {
			return deleted, nil
		}
	}
}

// dropPartitions drops one partition a transaction, because no decision can be written meanwhile.
func dropPartitions(ctx context.Context, conn *pgx.Conn, end time.Time) ([]string, error) {
	var dropped []string
	for {
		var name *string
		err := conn.QueryRow(ctx, "select gatehouse.drop_decisions($1)", end).Scan(&name)
		if connection.IsLockTimeout(err) || err == nil && name == nil {
			return dropped, nil
		}
		if err != nil {
			return dropped, err
		}
		dropped = append(dropped, *name)
	}
}
