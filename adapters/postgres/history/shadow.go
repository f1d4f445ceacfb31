package history

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/jackc/pgx/v5"

	"github.com/molecule-ai/gatehouse/adapters/postgres/connection"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

const (
	recordDivergencesSQL = `
insert into gatehouse.shadow_divergences (
    id, decided_at, kind, rule, code, decision_id, workspace_id, hook,
    live_revision, live, candidate_revision, candidate, error
)
select * from unnest(
    $1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[],
    $9::text[], $10::json[], $11::text[], $12::json[], $13::text[]
)
on conflict (id) do nothing`

	// In order of the key, lest two replicas wait for each other.
	addShadowCountsSQL = `
insert into gatehouse.shadow_counts as c (live_revision, candidate_revision, evaluated, diverged, failed, dropped, updated_at)
select live, candidate, evaluated, diverged, failed, dropped, $7::timestamptz
from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
    as given (live, candidate, evaluated, diverged, failed, dropped)
order by live, candidate
on conflict (live_revision, candidate_revision) do update set
    evaluated = c.evaluated + excluded.evaluated, diverged = c.diverged + excluded.diverged,
    failed = c.failed + excluded.failed, dropped = c.dropped + excluded.dropped,
    updated_at = greatest(c.updated_at, excluded.updated_at)`

	// uuids of version 7 are ordered by time.
	pruneDivergencesSQL = `
delete from gatehouse.shadow_divergences
where decided_at < $1
    or id <= (select id from gatehouse.shadow_divergences order by id desc offset $2 limit 1)`

	shadowCountsSQL = `
select live_revision, candidate_revision, evaluated, diverged, failed, dropped, updated_at
from gatehouse.shadow_counts
where ($1 = '' and $2 = '') or (live_revision = $1 and candidate_revision = $2)
order by updated_at desc limit 1`

	// The newest of each group, with the figures of the group. What is wide is read for those alone.
	shadowFlipsSQL = `
select g.n, g.first_at, g.last_at, d.kind, d.rule, d.code, d.decision_id, d.workspace_id, d.hook, d.decided_at,
    d.live, d.candidate, coalesce(d.error, '')
from (
    select id, count(*) over alike as n, min(decided_at) over alike as first_at, max(decided_at) over alike as last_at,
        row_number() over (partition by kind, rule, code order by id desc) as place
    from gatehouse.shadow_divergences
    where live_revision = $1 and candidate_revision = $2
    window alike as (partition by kind, rule, code)
) g
join gatehouse.shadow_divergences d on d.id = g.id
where g.place <= greatest($3::bigint, 1)
order by d.kind, d.rule, d.code, d.id desc`
)

// ShadowStore keeps how the verdicts of a candidate differ from those of the live policies.
type ShadowStore struct{ pool *connection.Pool }

// RecordDivergences writes a batch, all of it or nothing. Divergences that are stored already stay as they are.
func (s ShadowStore) RecordDivergences(ctx context.Context, batch []shadow.Divergence) error {
	var ids, decisions, workspaces [][16]byte
	var times []time.Time
	var kinds, rules, codes, hooks, liveRevisions, candidateRevisions []string
	var lives, candidates [][]byte
	var failures []*string
	for _, d := range batch {
		live, err := EncodeViolations(d.Live.Violations)
		if err != nil {
			return err
		}
		candidate, err := EncodeViolations(d.Candidate.Violations)
		if err != nil {
			return err
		}
		ids, decisions, workspaces = append(ids, d.ID), append(decisions, d.DecisionID), append(workspaces, d.WorkspaceID)
		times, hooks = append(times, d.At), append(hooks, d.Hook)
		kinds, rules, codes = append(kinds, string(d.Kind)), append(rules, d.Rule), append(codes, d.Code)
		liveRevisions, lives = append(liveRevisions, d.Live.Revision), append(lives, live)
		candidateRevisions, candidates = append(candidateRevisions, d.Candidate.Revision), append(candidates, candidate)
		failures = append(failures, OrNull(d.Error))
	}
	_, err := s.pool.Exec(ctx, recordDivergencesSQL, ids, times, kinds, rules, codes, decisions, workspaces, hooks,
		liveRevisions, lives, candidateRevisions, candidates, failures)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("writing %d divergences: %w", len(batch), err))
	}
	return nil
}

// AddShadowCounts adds to the counts of each pair. After an error they may have been added all the same.
func (s ShadowStore) AddShadowCounts(ctx context.Context, at time.Time, counts map[shadow.Pair]shadow.Counts) error {
	var lives, candidates []string
	var evaluated, diverged, failed, dropped []int64
	for pair, c := range counts {
		lives, candidates = append(lives, pair.Live), append(candidates, pair.Candidate)
		evaluated, diverged = append(evaluated, c.Evaluated), append(diverged, c.Diverged)
		failed, dropped = append(failed, c.Failed), append(dropped, c.Dropped)
	}
	_, err := s.pool.Exec(ctx, addShadowCountsSQL, lives, candidates, evaluated, diverged, failed, dropped, at)
	if err != nil {
		return connection.Explain(ctx, fmt.Errorf("counting shadow evaluations: %w", err))
	}
	return nil
}

// PruneDivergences deletes those of decisions before a time, and all but the newest keep, and says how many.
func (s ShadowStore) PruneDivergences(ctx context.Context, before time.Time, keep int) (int64, error) {
	tag, err := s.pool.Exec(ctx, pruneDivergencesSQL, before, keep)
	if err != nil {
		return 0, connection.Explain(ctx, fmt.Errorf("deleting old divergences: %w", err))
	}
	return tag.RowsAffected(), nil
}

// ShadowSummary is the result of comparing a pair, with up to so many examples of each flip. The zero pair stands for the pair
// that was compared last. The summary of a pair that was never compared is empty but for its name.
func (s ShadowStore) ShadowSummary(ctx context.Context, pair shadow.Pair, examples int) (shadow.Summary, error) {
	summary := shadow.Summary{Pair: pair, Flips: []shadow.Flip{}}
	err := s.pool.QueryRow(ctx, shadowCountsSQL, pair.Live, pair.Candidate).Scan(
		&summary.Live, &summary.Candidate, &summary.Evaluated, &summary.Diverged, &summary.Failed, &summary.Dropped, &summary.Updated)
	if errors.Is(err, pgx.ErrNoRows) {
		return summary, nil
	}
	if err != nil {
		return summary, connection.Explain(ctx, fmt.Errorf("reading the counts of the shadow: %w", err))
	}
	summary.Updated = summary.Updated.UTC()
	rows, err := s.pool.Query(ctx, shadowFlipsSQL, summary.Live, summary.Candidate, examples)
	if err == nil {
		_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
			return struct{}{}, addFlip(&summary, row, examples)
		})
	}
	if err != nil {
		return summary, connection.Explain(ctx, fmt.Errorf("reading the divergences of the shadow: %w", err))
	}
	slices.SortStableFunc(summary.Flips, shadow.CompareFlips)
	return summary, nil
}

// addFlip takes a row of shadowFlipsSQL, which begins a flip or is one more example of the last.
func addFlip(into *shadow.Summary, row pgx.CollectableRow, examples int) error {
	var flip shadow.Flip
	var d shadow.Divergence
	var live, candidate []byte
	err := row.Scan(&flip.Count, &flip.First, &flip.Last, (*string)(&flip.Kind), &flip.Rule, &flip.Code,
		(*[16]byte)(&d.DecisionID), (*[16]byte)(&d.WorkspaceID), &d.Hook, &d.At, &live, &candidate, &d.Error)
	if err != nil {
		return err
	}
	err = errors.Join(json.Unmarshal(live, &d.Live.Violations), json.Unmarshal(candidate, &d.Candidate.Violations))
	if err != nil {
		return fmt.Errorf("reading the verdicts of decision %s: %w", d.DecisionID, err)
	}
	d.At, flip.First, flip.Last = d.At.UTC(), flip.First.UTC(), flip.Last.UTC()
	into.AddExample(flip, d, examples)
	return nil
}
