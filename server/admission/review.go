package admission

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// CallerProof is how the caller proved itself to the registry.
type CallerProof string

// Token is the workspace's own live token, Bootstrap a workspace that has none yet (anyone may say its id),
// Install the platform's own install path.
const (
	Token     CallerProof = "token"
	Bootstrap CallerProof = "bootstrap"
	Install   CallerProof = "install"
)

// MaxUIDLength is in characters.
const MaxUIDLength = 128

// MaxBatch is the most reviews that one batch may hold.
const MaxBatch = 1000

// DefaultMaxDepth is the deepest nesting of a request body.
const DefaultMaxDepth = 64

// Review is one question: may this workspace pass this hook? Build it with a Decode function, which is
// where a malformed one is refused.
type Review struct {
	Hook        string
	UID         string // the registry's own id of this request, or ""
	DryRun      bool
	CallerProof CallerProof
	Caller      string // the authenticated caller's name, or ""
	Trace       Trace
	WorkspaceID uuid.UUID
	Workspace   jsontext.Value // the workspace as sent: a JSON object
	URL         URL
	Kind        string // the kind as sent, or "" if it is no string
}

// RequestKey is that of the decision of r.
func (r Review) RequestKey() RequestKey { return RequestKey{Caller: r.Caller, UID: r.UID} }

type envelope struct {
	UID         string         `json:"uid"`
	DryRun      bool           `json:"dry_run"`
	CallerProof *string        `json:"caller_proof"`
	Workspace   jsontext.Value `json:"workspace"`
}

// DecodeReview reads the body of POST /v1/admission/{hook}. Names are exact; duplicate and unknown members,
// trailing bytes and nesting beyond maxDepth are refused; members of workspace pass as they are.
func DecodeReview(hook string, body []byte, maxDepth int) (Review, error) {
	var sent envelope
	err := DecodeStrict(body, &sent, maxDepth)
	if err != nil {
		return Review{}, err
	}
	return sent.review(hook)
}

// DecodeBatch reads the body of POST /v1/admission/{hook}/batch. One malformed review refuses the whole
// batch, so that no part of it is acted on.
func DecodeBatch(hook string, body []byte, maxDepth int) ([]Review, error) {
	var sent struct {
		Reviews []envelope `json:"reviews"`
	}
	err := DecodeStrict(body, &sent, maxDepth)
	if err != nil {
		return nil, err
	}
	err = checkBatch(len(sent.Reviews))
	if err != nil {
		return nil, err
	}

	reviews := make([]Review, len(sent.Reviews))
	for i := range sent.Reviews {
		reviews[i], err = sent.Reviews[i].review(hook)
		if err != nil {
			return nil, inBatch(i, err)
		}
	}
	return reviews, nil
}

// DecodePayload reads a raw register payload, the body of the relay form: the workspace without an envelope.
func DecodePayload(hook string, body []byte, proof CallerProof, maxDepth int) (Review, error) {
	var workspace jsontext.Value
	err := DecodeStrict(body, &workspace, maxDepth)
	if err != nil {
		return Review{}, err
	}
	text := string(proof)
	return envelope{CallerProof: &text, Workspace: workspace}.review(hook)
}

// DecodeStrict reads one JSON value: exact names, no duplicate and no unknown members, no trailing bytes, no
// nesting beyond maxDepth. Errors are Malformed and quote no value.
func DecodeStrict(body []byte, into any, maxDepth int) error {
	err := scan(body, maxDepth)
	if err != nil {
		return Malformed(err.Error())
	}
	err = json.Unmarshal(body, into, json.RejectUnknownMembers(true))
	if err != nil {
		return Malformed(describe(err))
	}
	return nil
}

func (e envelope) review(hook string) (Review, error) {
	if utf8.RuneCountInString(e.UID) > MaxUIDLength {
		return Review{}, Malformed(fmt.Sprintf("uid is longer than %d characters", MaxUIDLength))
	}
	proof := Token
	if e.CallerProof != nil {
		proof = CallerProof(*e.CallerProof)
	}
	switch proof {
	case Token, Bootstrap, Install:
	default:
		return Review{}, Malformed("caller_proof is not token, bootstrap or install")
	}
	if e.Workspace.Kind() != '{' {
		return Review{}, Malformed("workspace is required and is an object")
	}

	known, err := namedOf(e.Workspace)
	if err != nil {
		return Review{}, Malformed(err.Error())
	}
	id, err := ParseWorkspaceID(known.id)
	if err != nil {
		return Review{}, Malformed(err.Error())
	}
	return Review{
		Hook: hook, UID: e.UID, DryRun: e.DryRun, CallerProof: proof,
		WorkspaceID: id, Workspace: e.Workspace, URL: ParseURL(known.url), Kind: known.kind,
	}, nil
}

// stringOf gives the text of a JSON string that has been read before, "" for any other value.
func stringOf(value jsontext.Value) string {
	if value.Kind() != '"' {
		return ""
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return ""
	}
	return string(text)
}
