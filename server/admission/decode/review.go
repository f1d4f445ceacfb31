// Package decode makes reviews of request bodies. It reads JSON strictly: a body that two readers could understand in two
// ways is refused. Its errors are admission.Malformed and quote no value.
package decode

import (
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// MaxUIDLength is in characters.
const MaxUIDLength = 128

// MaxBatch is the most reviews that one batch may hold.
const MaxBatch = 1000

// DefaultMaxDepth is the deepest nesting of a request body.
const DefaultMaxDepth = 64

type envelope struct {
	UID         string         `json:"uid"`
	DryRun      bool           `json:"dry_run"`
	CallerProof *string        `json:"caller_proof"`
	Workspace   jsontext.Value `json:"workspace"`
}

// Review reads the body of POST /v1/admission/{hook}. Names are exact; duplicate and unknown members,
// trailing bytes and nesting beyond maxDepth are refused; members of workspace pass as they are.
func Review(hook string, body []byte, maxDepth int) (admission.Review, error) {
	var sent envelope
	err := Strict(body, &sent, maxDepth)
	if err != nil {
		return admission.Review{}, err
	}
	return sent.review(hook)
}

// Batch reads the body of POST /v1/admission/{hook}/batch. One malformed review refuses the whole
// batch, so that no part of it is acted on.
func Batch(hook string, body []byte, maxDepth int) ([]admission.Review, error) {
	var sent struct {
		Reviews []envelope `json:"reviews"`
	}
	err := Strict(body, &sent, maxDepth)
	if err != nil {
		return nil, err
	}
	err = checkBatch(len(sent.Reviews))
	if err != nil {
		return nil, err
	}

	reviews := make([]admission.Review, len(sent.Reviews))
	for i := range sent.Reviews {
		reviews[i], err = sent.Reviews[i].review(hook)
		if err != nil {
			return nil, inBatch(i, err)
		}
	}
	return reviews, nil
}

// Payload reads a raw register payload, the body of the relay form: the workspace without an envelope.
func Payload(hook string, body []byte, proof admission.CallerProof, maxDepth int) (admission.Review, error) {
	var workspace jsontext.Value
	err := Strict(body, &workspace, maxDepth)
	if err != nil {
		return admission.Review{}, err
	}
	text := string(proof)
	return envelope{CallerProof: &text, Workspace: workspace}.review(hook)
}

// Strict reads one JSON value: exact names, no duplicate and no unknown members, no trailing bytes, no
// nesting beyond maxDepth. Errors are Malformed and quote no value.
func Strict(body []byte, into any, maxDepth int) error {
	err := scan(body, maxDepth)
	if err != nil {
		return admission.Malformed(err.Error())
	}
	err = json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err != nil {
		return admission.Malformed(describe(err))
	}
	return nil
}

func (e envelope) review(hook string) (admission.Review, error) {
	if utf8.RuneCountInString(e.UID) > MaxUIDLength {
		return admission.Review{}, admission.Malformed(fmt.Sprintf("uid is longer than %d characters", MaxUIDLength))
	}
	proof := admission.Token
	if e.CallerProof != nil {
		proof = admission.CallerProof(*e.CallerProof)
	}
	switch proof {
	case admission.Token, admission.Bootstrap, admission.Install:
	default:
		return admission.Review{}, admission.Malformed("caller_proof is not token, bootstrap or install")
	}
	if e.Workspace.Kind() != '{' {
		return admission.Review{}, admission.Malformed("workspace is required and is an object")
	}

	known, err := namedOf(e.Workspace)
	if err != nil {
		return admission.Review{}, admission.Malformed(err.Error())
	}
	id, err := ParseWorkspaceID(known.id)
	if err != nil {
		return admission.Review{}, admission.Malformed(err.Error())
	}
	return admission.Review{
		Hook: hook, UID: e.UID, DryRun: e.DryRun, CallerProof: proof,
		WorkspaceID: id, Workspace: e.Workspace, URL: ParseURL(known.url), Kind: known.kind,
	}, nil
}
