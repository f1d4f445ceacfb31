package audit

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// sentMembers are those of a request that every workspace is taken to send: its id, and what its row says of the others.
var sentMembers = []string{"id", "url", "kind", "delivery_mode"}

// question asks about a stored workspace. It holds only the id. The rest is taken from the facts that are evaluated, which may
// be newer than those of the list.
func question(id uuid.UUID) admission.Review {
	return admission.Review{
		Hook: Hook, CallerProof: admission.Token, Caller: Caller, WorkspaceID: id,
		Workspace: jsontext.Value(`{"id":"` + id.String() + `"}`),
	}
}

// registering evaluates policies as if a stored workspace registered. It takes the request from the facts that are evaluated,
// also when they are read again under the workspace's lock.
type registering struct {
	admission.Ruleset
	revision string
	members  []string // of the row that make up the request; a null member is not sent
}

// registeringAs prepares policies for rows with these columns. A member of the request that the policies read is taken from
// the row, if the row has one of that name.
func registeringAs(ctx context.Context, rules Ruleset, columns []string) (registering, []NotJudged, error) {
	known := slices.Concat(sentMembers, columns)
	slices.Sort(known)
	stored, err := rules.OfStored(ctx, Hook, slices.Compact(known))
	if err != nil {
		return registering{}, nil, err
	}
	members := slices.Concat(sentMembers, stored.Read)
	slices.Sort(members)
	members = slices.DeleteFunc(slices.Compact(members), func(name string) bool { return name == "id" })
	return registering{stored.Rules, rules.Revision(), members}, stored.NotJudged, nil
}

func (r registering) Current() admission.Ruleset { return r }

func (r registering) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	in, err := r.asStored(in)
	if err != nil {
		return admission.Verdict{}, err
	}
	return r.Ruleset.Evaluate(ctx, in, at)
}

// Mask keeps the input that was evaluated.
func (r registering) Mask(ctx context.Context, d admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	in, err := r.asStored(in)
	if err != nil {
		return admission.RecordedInput{Revision: r.revision}, err
	}
	return r.Ruleset.Mask(ctx, d, in)
}

// asStored completes a question from the facts. A row that makes a malformed request is an error, as that request is.
func (r registering) asStored(in admission.Input) (admission.Input, error) {
	var asked, row map[string]jsontext.Value
	err := json.Unmarshal(in.Request, &asked)
	if err != nil {
		return in, fmt.Errorf("reading the id of a stored workspace: %w", err)
	}
	err = json.Unmarshal(in.Facts.Workspace, &row)
	if err != nil {
		return in, fmt.Errorf("reading a stored workspace: %w", err)
	}
	for _, member := range r.members {
		if value, found := row[member]; found && value.Kind() != jsontext.KindNull {
			asked[member] = value
		}
	}
	text, err := json.Marshal(asked, json.Deterministic(true))
	if err != nil {
		return in, fmt.Errorf("putting a stored workspace as a request: %w", err)
	}
	sent, err := decode.Payload(in.Hook, text, in.CallerProof, decode.DefaultMaxDepth)
	if err != nil {
		return in, err
	}
	in.Request, in.URL = sent.Workspace, sent.URL
	return in, nil
}
