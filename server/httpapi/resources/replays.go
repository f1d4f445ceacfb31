package resources

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// ReplayOptions are what replays need. Without Records there are none.
type ReplayOptions struct {
	replay.RunsOptions
	Policies ReplayPolicies
}

// ReplayPolicies gives candidates. Errors that a caller can mend are *admission.Error.
type ReplayPolicies interface {
	ReplayLive() (replay.Candidate, error)
	ReplayShadow() (replay.Candidate, error)
	ReplayFiles(ctx context.Context, files map[string]string) (replay.Candidate, error)
}

// replayRequest is the body of POST /v1/replays.
type replayRequest struct {
	Candidate struct {
		Live   bool              `json:"live"`
		Shadow bool              `json:"shadow"`
		Files  map[string]string `json:"files"`
	} `json:"candidate"`
	Since       *time.Time `json:"since"`
	Until       *time.Time `json:"until"`
	Hook        string     `json:"hook"`
	Code        string     `json:"code"`
	WorkspaceID string     `json:"workspace_id"`
	Limit       int        `json:"limit"`
	Examples    *int       `json:"examples"`
}

// replaySpan is how far a replay without since goes back.
const replaySpan = 7 * 24 * time.Hour

// Replays serves the runs of replays.
type Replays struct {
	Respond  *respond.Responder
	Runs     *replay.Runs
	Policies ReplayPolicies
	Now      func() time.Time
}

// Start serves POST /v1/replays.
func (h Replays) Start(w http.ResponseWriter, r *http.Request) error {
	var sent replayRequest
	err := h.Respond.DecodeStrict(w, r, h.Respond.Limits.Batch, &sent)
	if err != nil {
		return err
	}
	options, err := sent.options(h.Now())
	if err != nil {
		return err
	}
	err = h.Runs.Vacant() // before a candidate is compiled in vain
	if err != nil {
		return err
	}
	candidate, err := h.replayCandidate(r.Context(), sent)
	if err != nil {
		return err
	}
	started, err := h.Runs.Start(candidate, options, auth.CallerOf(r.Context()).Name)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/replays/"+started.ID.String())
	h.Respond.JSON(w, r, http.StatusAccepted, started)
	return nil
}

func (sent replayRequest) options(now time.Time) (replay.Options, error) {
	filter := ledger.Filter{Hook: sent.Hook, Code: sent.Code, Since: now.Add(-replaySpan)}
	if sent.Since != nil {
		filter.Since = *sent.Since
	}
	if sent.Until != nil {
		filter.Until = *sent.Until
	}
	if sent.WorkspaceID != "" {
		var err error
		filter.WorkspaceID, err = decode.ParseWorkspaceID(sent.WorkspaceID)
		if err != nil {
			return replay.Options{}, admission.Malformed("workspace_id: " + err.Error())
		}
	}
	options := replay.Options{Filter: filter, Limit: sent.Limit, Examples: defaultExamples}
	if sent.Examples != nil {
		options.Examples = *sent.Examples
	}
	if options.Limit < 0 || options.Examples < 0 || options.Examples > maxExamples {
		return replay.Options{}, admission.Malformed("limit must not be negative, and examples is from 0 to 100")
	}
	return options, nil
}

func (h Replays) replayCandidate(ctx context.Context, sent replayRequest) (candidate replay.Candidate, err error) {
	from := sent.Candidate
	switch policies := h.Policies; {
	case from.Live && !from.Shadow && from.Files == nil:
		candidate, err = policies.ReplayLive()
	case from.Shadow && !from.Live && from.Files == nil:
		candidate, err = policies.ReplayShadow()
	case from.Files != nil && !from.Live && !from.Shadow:
		candidate, err = policies.ReplayFiles(ctx, from.Files)
	default:
		return candidate, admission.Malformed(`candidate is one of {"files": {…}}, {"shadow": true} and {"live": true}`)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = &admission.Error{Code: admission.CodeDeadlineExceeded, Detail: "the candidate could not be checked in time", Err: err}
	}
	return candidate, err
}

// ReplayList are the replays that are kept, newest first, without their reports.
type ReplayList struct {
	Replays []replay.RunStatus `json:"replays"`
}

// List serves GET /v1/replays.
func (h Replays) List(*http.Request) (ReplayList, error) {
	return ReplayList{Replays: h.Runs.List()}, nil
}

// Show serves GET /v1/replays/{id}.
func (h Replays) Show(r *http.Request) (replay.RunStatus, error) {
	status, err := h.Runs.Status(replayID(r))
	return status, replayError(err)
}

// Cancel serves DELETE /v1/replays/{id}. What is done already stays as it is.
func (h Replays) Cancel(r *http.Request) (replay.RunStatus, error) {
	status, err := h.Runs.Cancel(r.Context(), replayID(r))
	return status, replayError(err)
}

// replayID is the id that the path names. A text that is no id becomes the nil UUID, which no replay has.
func replayID(r *http.Request) uuid.UUID {
	id, err := uuid.Parse(chi.URLParam(r, "id"))
	if err != nil {
		return uuid.Nil
	}
	return id
}

func replayError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, replay.ErrNoRun):
		return &admission.Error{Code: admission.CodeNotFound, Detail: "this server has no replay of this id"}
	}
	return &admission.Error{Code: admission.CodeDeadlineExceeded, Detail: "the replay is told to end and has not yet", Err: err}
}
