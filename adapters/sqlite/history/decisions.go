package history

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

// DecisionReader reads recorded decisions.
type DecisionReader struct{ file *connection.File }

// Decision gives the one of an id, or ledger.ErrNoDecision. It lacks the digest of its review, which is for
// comparing a uid that comes again; so do those of Decisions and DecisionsAfter.
func (r DecisionReader) Decision(ctx context.Context, id uuid.UUID) (ledger.Decision, error) {
	found, err := r.readDecisions(ctx, `
		select `+DecisionColumns+` from decisions d where d.id = $1`, id.String())
	if err != nil {
		return ledger.Decision{}, fmt.Errorf("reading a decision: %w", connection.Explain(ctx, err))
	}
	if len(found) == 0 {
		return ledger.Decision{}, ledger.ErrNoDecision
	}
	return found[0], nil
}

// Decisions gives one page. Pages are statements of their own, of different snapshots: one that was open from the
// first page of a million to the last would keep the WAL from being taken back into the file.
func (r DecisionReader) Decisions(ctx context.Context, q ledger.Query) ([]ledger.Decision, error) {
	query, args := pageSQL(q)
	found, err := r.readDecisions(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("reading decisions: %w", connection.Explain(ctx, err))
	}
	return found, nil
}

// DecisionsAfter gives up to limit decisions whose seq is greater than after, in the order of seq, which is that of
// the commits: one transaction writes at a time.
func (r DecisionReader) DecisionsAfter(ctx context.Context, after int64, limit int) ([]ledger.Decision, error) {
	found, err := r.readDecisions(ctx, `
		select `+DecisionColumns+` from decisions d where d.seq > $1 order by d.seq limit $2`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the ledger of decisions: %w", connection.Explain(ctx, err))
	}
	return found, nil
}

// LastDecisionSeq is the greatest seq that can be read, 0 if there is none.
func (r DecisionReader) LastDecisionSeq(ctx context.Context) (int64, error) {
	var last int64
	err := r.file.Readers.QueryRowContext(ctx, `select coalesce(max(seq), 0) from decisions`).Scan(&last)
	if err != nil {
		return 0, fmt.Errorf("reading the end of the ledger of decisions: %w", connection.Explain(ctx, err))
	}
	return last, nil
}

// DecisionWriters names nobody: a transaction that is writing has not taken a seq below one that can be read.
func (DecisionReader) DecisionWriters(context.Context) ([]string, error) { return nil, nil }

func (r DecisionReader) readDecisions(ctx context.Context, query string, args ...any) ([]ledger.Decision, error) {
	var row DecisionRow
	cells := row.Cells()
	return connection.Collect(ctx, r.file.Readers, func(rows *sql.Rows) (ledger.Decision, error) {
		err := rows.Scan(cells...)
		if err != nil {
			return ledger.Decision{}, err
		}
		return row.Decision()
	}, query, args...)
}
