package audit

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// result is what a run saw of one workspace.
type result struct {
	seen     bool
	verdict  admission.Verdict
	failed   admission.Code // why there is no verdict, or why it was not enforced; ""
	decision uuid.UUID      // Nil if nothing was enforced
	marked   bool

	disagreed error // evaluators do; nil if they agree
}

// look evaluates one workspace, and denies it if the run enforces. Its only error is that of ctx.
func (r *run) look(ctx context.Context, w StoredWorkspace) (result, error) {
	err := r.wait(ctx)
	if err != nil {
		return result{}, err
	}
	if !w.Facts.Exists {
		return result{seen: true, failed: admission.CodeFactsUnavailable}, nil
	}
	found := result{seen: true}
	if _, status := labels(w.Facts); status == "removed" { // it never registers again
		return found, nil
	}
	asked := question(w.ID)
	input := admission.NewInput(asked, w.Facts, r.audit.options.Deployment)
	found.verdict, err = r.audit.options.Evaluator.Evaluate(ctx, r.rules, input, r.audit.options.Now())
	if err == nil && r.gate != nil && found.verdict.Marking() != nil {
		err = r.deny(ctx, asked, &found)
	}
	if err != nil && ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	if err != nil {
		found.failed = admission.AsError(err).Code
		if errors.Is(err, admission.ErrEvaluatorsDisagree) {
			found.disagreed = err
		}
	}
	return found, nil
}

// wait waits for the run's pace.
func (r *run) wait(ctx context.Context) error {
	if delay := r.pace.Reserve().Delay(); delay > 0 {
		pause(ctx, delay)
	}
	return ctx.Err()
}

// deny is a review like any other: the facts are read again and evaluated again, and the result is recorded, marked and
// announced. Its uid makes it happen once for each run, also where a resumed run looks again at a page that was not saved.
func (r *run) deny(ctx context.Context, asked admission.Review, found *result) error {
	asked.UID = "audit:" + r.state.ID.String() + ":" + asked.WorkspaceID.String()
	d, err := r.gate.Review(ctx, asked)
	if err != nil {
		return err
	}
	found.verdict, found.decision, found.marked = d.Verdict, d.ID, d.MarkedFailed
	return nil
}

// count adds a result to the run. It gives the finding, nil if there is nothing to say of the workspace.
func (r *run) count(w StoredWorkspace, found result) *Finding {
	violations := found.verdict.Violations
	denying := found.verdict.Denying()
	r.state.Evaluated++
	counted := make(map[string]bool, len(violations))
	for _, v := range violations {
		if !counted[v.Code] {
			counted[v.Code] = true
			r.state.Violations[v.Code]++
		}
	}
	if found.disagreed != nil {
		r.disagreed++
		r.disagreement = found.disagreed
	}
	switch {
	case found.failed != "":
		r.state.Failed++
	case denying != nil:
		r.state.Denied++
	case len(violations) > 0:
		r.state.Warned++
	default:
		return nil
	}
	if found.marked {
		r.state.Marked++
	}
	finding := &Finding{
		RunID: r.state.ID, WorkspaceID: w.ID, Denied: denying != nil && found.failed == "", Violations: violations,
		Error: found.failed, Marked: found.marked, DecisionID: found.decision,
	}
	finding.Kind, finding.Status = labels(w.Facts)
	switch {
	case denying != nil:
		finding.Code = denying.Code
	case len(violations) > 0:
		finding.Code = violations[0].Code
	}
	return finding
}

// labels are what a stored row says of itself.
func labels(facts admission.Facts) (kind, status string) {
	var row struct {
		Status any `json:"status"`
	}
	if facts.Exists && json.Unmarshal(facts.Workspace, &row) == nil {
		status, _ = row.Status.(string)
	}
	return facts.Kind(), status
}
