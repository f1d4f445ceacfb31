package audit

import (
	"context"
	"errors"

	"github.com/go-json-experiment/json"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// result is what a run saw of one workspace: a finding, unless there is nothing to say of it.
type result struct {
	seen bool
	Finding
	disagreed error // evaluators do; nil if they agree
}

// look evaluates one workspace, and denies it if the run enforces. Its only error is that of ctx.
func (r *run) look(ctx context.Context, w StoredWorkspace) (result, error) {
	err := r.wait(ctx)
	if err != nil {
		return result{}, err
	}
	found := result{seen: true, Finding: Finding{RunID: r.state.ID, WorkspaceID: w.ID}}
	found.Kind, found.Status = labels(w.Facts)
	if !w.Facts.Exists {
		found.Error = admission.CodeFactsUnavailable
		return found, nil
	}
	if found.Status == "removed" { // it never registers again
		return found, nil
	}
	asked := question(w.ID)
	input := admission.NewInput(asked, w.Facts, r.audit.options.Deployment)
	verdict, err := r.audit.options.Evaluator.Evaluate(ctx, r.rules, input, r.audit.options.Now())
	if err == nil && r.gate != nil && verdict.Marking() != nil {
		verdict, err = r.deny(ctx, asked, verdict, &found.Finding)
	}
	if err != nil && ctx.Err() != nil {
		return result{}, ctx.Err()
	}
	if err != nil {
		found.Error = admission.AsError(err).Code
		if errors.Is(err, admission.ErrEvaluatorsDisagree) {
			found.disagreed = err
		}
	}
	found.Violations = verdict.Violations
	denying := verdict.Denying()
	found.Denied = denying != nil && found.Error == ""
	switch {
	case denying != nil:
		found.Code = denying.Code
	case len(found.Violations) > 0:
		found.Code = found.Violations[0].Code
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
func (r *run) deny(ctx context.Context, asked admission.Review, seen admission.Verdict, found *Finding) (admission.Verdict, error) {
	asked.UID = "audit:" + r.state.ID.String() + ":" + asked.WorkspaceID.String()
	d, err := r.gate.Review(ctx, asked)
	if err != nil {
		return seen, err
	}
	found.DecisionID, found.Marked = d.ID, d.MarkedFailed
	return d.Verdict, nil
}

// count adds a result to the run. It says whether there is anything to say of the workspace.
func (r *run) count(found *result) bool {
	r.state.Evaluated++
	counted := make(map[string]bool, len(found.Violations))
	for _, v := range found.Violations {
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
	case found.Error != "":
		r.state.Failed++
	case found.Denied:
		r.state.Denied++
	case len(found.Violations) > 0:
		r.state.Warned++
	default:
		return false
	}
	if found.Marked {
		r.state.Marked++
	}
	return true
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
