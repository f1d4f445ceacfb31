package history

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/adapters/sqlite/connection"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

const (
	insertDivergenceSQL = `
insert into shadow_divergences (id, decided_at, kind, rule, code, decision_id, workspace_id, hook,
                                live_revision, live, candidate_revision, candidate, error)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
on conflict (id) do nothing`

	addShadowCountsSQL = `
insert into shadow_counts (live_revision, candidate_revision, evaluated, diverged, failed, dropped, updated_at)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (live_revision, candidate_revision) do update set
    evaluated = evaluated + excluded.evaluated, diverged = diverged + excluded.diverged,
    failed = failed + excluded.failed, dropped = dropped + excluded.dropped,
    updated_at = max(updated_at, excluded.updated_at)`

	// UUIDs of version 7 are ordered by time.
	pruneDivergencesSQL = `
delete from shadow_divergences
where decided_at < $1 or id <= (select id from shadow_divergences order by id desc limit 1 offset $2)`

	shadowCountsSQL = `
select live_revision, candidate_revision, evaluated, diverged, failed, dropped, updated_at from shadow_counts
where ($1 = '' and $2 = '') or (live_revision = $1 and candidate_revision = $2)
order by updated_at desc limit 1`

	// The newest of each group, with the figures of the group. What is wide is read for those alone.
	shadowFlipsSQL = `
select g.n, g.first_at, g.last_at, d.kind, d.rule, d.code, d.decision_id, d.workspace_id, d.hook, d.decided_at,
       d.live, d.candidate, coalesce(d.error, '')
from (select id, count(*) over alike as n, min(decided_at) over alike as first_at, max(decided_at) over alike as last_at,
             row_number() over (partition by kind, rule, code order by id desc) as place
      from shadow_divergences
      where live_revision = $1 and candidate_revision = $2
      window alike as (partition by kind, rule, code)) g
join shadow_divergences d on d.id = g.id
where g.place <= max($3, 1)
order by d.kind, d.rule, d.code, d.id desc`
)

// ShadowStore keeps how the verdicts of a candidate differ from those of the live policies.
type ShadowStore struct{ file *connection.File }

// RecordDivergences writes a batch, all of it or nothing. Divergences that are stored already stay as they are.
func (s ShadowStore) RecordDivergences(ctx context.Context, batch []shadow.Divergence) error {
	err := s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		for _, d := range batch {
			err := insertDivergence(ctx, tx, d)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing %d divergences: %w", len(batch), connection.Explain(ctx, err))
	}
	return nil
}

func insertDivergence(ctx context.Context, tx *sql.Tx, d shadow.Divergence) error {
	live, err := json.Marshal(d.Live.Violations)
	if err != nil {
		return err
	}
	candidate, err := json.Marshal(d.Candidate.Violations)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, insertDivergenceSQL,
		d.ID.String(), connection.TimeText(d.At), string(d.Kind), d.Rule, d.Code, d.DecisionID.String(), d.WorkspaceID.String(), d.Hook,
		d.Live.Revision, string(live), d.Candidate.Revision, string(candidate), sql.Null[string]{V: d.Error, Valid: d.Error != ""})
	return err
}

// AddShadowCounts adds to the counts of each pair. After an error they may have been added all the same.
func (s ShadowStore) AddShadowCounts(ctx context.Context, at time.Time, counts map[shadow.Pair]shadow.Counts) error {
	err := s.file.InTransaction(ctx, func(tx *sql.Tx) error {
		for pair, c := range counts {
			_, err := tx.ExecContext(ctx, addShadowCountsSQL,
				pair.Live, pair.Candidate, c.Evaluated, c.Diverged, c.Failed, c.Dropped, connection.TimeText(at))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("counting shadow evaluations: %w", connection.Explain(ctx, err))
	}
	return nil
}

// PruneDivergences deletes those of decisions before a time, and all but the newest keep, and says how many.
func (s ShadowStore) PruneDivergences(ctx context.Context, before time.Time, keep int) (int64, error) {
	result, err := s.file.Writer.ExecContext(ctx, pruneDivergencesSQL, connection.TimeText(before), keep)
	if err != nil {
		return 0, fmt.Errorf("deleting old divergences: %w", connection.Explain(ctx, err))
	}
	return result.RowsAffected()
}

// ShadowSummary is the result of comparing a pair, with up to so many examples of each flip. The zero pair stands for the pair
// that was compared last. The summary of a pair that was never compared is empty but for its name.
func (s ShadowStore) ShadowSummary(ctx context.Context, pair shadow.Pair, examples int) (shadow.Summary, error) {
	summary := shadow.Summary{Pair: pair, Flips: []shadow.Flip{}}
	err := s.readSummary(ctx, &summary, examples)
	if err != nil {
		return summary, fmt.Errorf("reading the summary of the shadow: %w", connection.Explain(ctx, err))
	}
	return summary, nil
}

func (s ShadowStore) readSummary(ctx context.Context, into *shadow.Summary, examples int) (err error) {
	var updated string
	err = s.file.Readers.QueryRowContext(ctx, shadowCountsSQL, into.Live, into.Candidate).Scan(
		&into.Live, &into.Candidate, &into.Evaluated, &into.Diverged, &into.Failed, &into.Dropped, &updated)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		into.Updated, err = time.Parse(connection.TimeLayout, updated)
	}
	if err != nil {
		return err
	}
	rows, err := s.file.Readers.QueryContext(ctx, shadowFlipsSQL, into.Live, into.Candidate, examples)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		err = addFlip(into, rows, examples)
		if err != nil {
			return err
		}
	}
	slices.SortStableFunc(into.Flips, shadow.CompareFlips)
	return rows.Err()
}

// addFlip takes a row of shadowFlipsSQL, which begins a flip or is one more example of the last.
func addFlip(into *shadow.Summary, rows *sql.Rows, examples int) error {
	var flip shadow.Flip
	var d shadow.Divergence
	var first, last, at string
	var live, candidate []byte
	err := rows.Scan(&flip.Count, &first, &last, &flip.Kind, &flip.Rule, &flip.Code,
		&d.DecisionID, &d.WorkspaceID, &d.Hook, &at, &live, &candidate, &d.Error)
	if err != nil {
		return err
	}
	for text, into := range map[*string]*time.Time{&first: &flip.First, &last: &flip.Last, &at: &d.At} {
		*into, err = time.Parse(connection.TimeLayout, *text)
		if err != nil {
			return err
		}
	}
	err = errors.Join(json.Unmarshal(live, &d.Live.Violations), json.Unmarshal(candidate, &d.Candidate.Violations))
	if err != nil {
		return fmt.Errorf("the verdicts of decision %s are unreadable: %w", d.DecisionID, err)
	}
	into.AddExample(flip, d, examples)
	return nil
}
