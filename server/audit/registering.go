package audit

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"gatehouse/server/admission"
)

// request is what a workspace sends when it registers, as far as its stored row says.
type request struct {
	ID  jsontext.Value `json:"id"`
	row `json:",inline"`
}

type row struct {
	URL          jsontext.Value `json:"url,omitzero"`
	Kind         jsontext.Value `json:"kind,omitzero"`
	DeliveryMode jsontext.Value `json:"delivery_mode,omitzero"`
}

// question asks about a stored workspace. It says no more than its id: the rest is read from the facts that are
// evaluated, which may be newer than those that were listed.
func question(id uuid.UUID) admission.Review {
	return admission.Review{
		Hook: Hook, CallerProof: admission.Token, Caller: Caller, WorkspaceID: id,
		Workspace: jsontext.Value(`{"id":"` + id.String() + `"}`),
	}
}

// registering are policies that are asked whether a workspace may register with what is stored of it, whichever
// facts are read of it, also once more under its lock.
type registering struct {
	Ruleset
}

func (r registering) Current() admission.Ruleset { return r }

func (r registering) Evaluate(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	in, err := asStored(in)
	if err != nil {
		return admission.Verdict{}, err
	}
	return r.Ruleset.Evaluate(ctx, in, at)
}

// Mask keeps the input that was evaluated.
func (r registering) Mask(ctx context.Context, d admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	in, err := asStored(in)
	if err != nil {
		return admission.RecordedInput{Revision: r.Revision()}, err
	}
	return r.Ruleset.Mask(ctx, d, in)
}

// asStored fills a question in. A row that could not have come as a request is an error, as that request is.
func asStored(in admission.Input) (admission.Input, error) {
	var asked request
	err := json.Unmarshal(in.Request, &asked)
	if err != nil {
		return in, fmt.Errorf("reading the id of a stored workspace: %w", err)
	}
	err = json.Unmarshal(in.Facts.Workspace, &asked.row)
	if err != nil {
		return in, fmt.Errorf("reading a stored workspace: %w", err)
	}
	for _, member := range []*jsontext.Value{&asked.URL, &asked.Kind, &asked.DeliveryMode} {
		if member.Kind() == jsontext.KindNull {
			*member = nil
		}
	}
	text, err := json.Marshal(asked)
	if err != nil {
		return in, fmt.Errorf("putting a stored workspace as a request: %w", err)
	}
	sent, err := admission.DecodePayload(in.Hook, text, in.CallerProof, admission.DefaultMaxDepth)
	if err != nil {
		return in, err
	}
	in.Request, in.URL = sent.Workspace, sent.URL
	return in, nil
}
