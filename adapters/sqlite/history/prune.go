package history

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/internal/decisionrow"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

const (
	// pruneBatch keeps a transaction of the one writer to a matter of milliseconds.
	pruneBatch = 500

	// oldDecisions are the next batch. The bound of ids is what makes it a walk from the oldest on; the time itself
	// is compared as well, as ids of earlier versions were made a little later.
	oldDecisions = `
select seq from decisions indexed by decisions_id
where id < $1 and decided_at < $2 order by id limit $3`

	// An error claims no uid: that of its request belongs to a later answer, or to nobody.
	pruneUIDsSQL = `
delete from request_uids
where (uid, caller) in (select uid, caller from decisions where error_code is null and seq in (` + oldDecisions + `))`

	pruneDecisionsSQL = `delete from decisions where seq in (` + oldDecisions + `)`
)

// Retention deletes what is too old.
type Retention struct{ file *connection.File }

// PruneDecisions deletes those made before a time, with the uids of their requests, and says how many; events stay.
// If another process is pruning, it does nothing. SQLite has no partitions to make for decisions to come, so the present time is
// not used.
//
// The file does not shrink by it: the pages become free and the next decisions take them, so that it stays at the
// size that the decisions of one retention need. A seq is never given again.
func (r Retention) PruneDecisions(ctx context.Context, _, before time.Time) (ledger.Pruned, error) {
	release, _, held, err := r.file.Exclusive(ctx, "prune-decisions")
	if err != nil || !held {
		return ledger.Pruned{}, err
	}
	defer release()
	var pruned ledger.Pruned
	err = r.file.InBatches(ctx, func(tx *sql.Tx) (more bool, err error) {
		uids, decisions, err := pruneOnce(ctx, tx, before)
		pruned.UIDs += uids
		pruned.Decisions += decisions
		return decisions == pruneBatch, err
	})
	if err != nil {
		return pruned, fmt.Errorf("deleting old decisions: %w", connection.Explain(ctx, err))
	}
	return pruned, nil
}

func pruneOnce(ctx context.Context, tx *sql.Tx, before time.Time) (uids, decisions int64, err error) {
	_, bound := ledger.Filter{Until: before}.IDs()
	args := []any{bound.String(), connection.TimeText(decisionrow.Ceiling(before)), pruneBatch}
	uids, err = connection.Affected(tx.ExecContext(ctx, pruneUIDsSQL, args...))
	if err != nil {
		return 0, 0, err
	}
	decisions, err = connection.Affected(tx.ExecContext(ctx, pruneDecisionsSQL, args...))
	return uids, decisions, err
}
