package admission

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// ErrNoDecision says that no decision has an id: it was never made, or is no longer kept.
var ErrNoDecision = errors.New("no decision has this id")

// Failure is what kept a review from a verdict, as its caller was told. What lies behind it is in the log only:
// it can name hosts, columns and SQL.
type Failure struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Redaction is what a recorded input lacks, as JSON pointers that begin with /input, in the words of OPA's
// decision logs: what was erased is gone, what was masked is there in another form.
type Redaction struct {
	Erased []string `json:"erased,omitempty"`
	Masked []string `json:"masked,omitempty"`
}

// InputPointer is the pointer of the whole input.
const InputPointer = "/input"

// ErasedWhole is the redaction of an input of which nothing is kept: it says null.
func ErasedWhole() Redaction { return Redaction{Erased: []string{InputPointer}} }

// Empty says whether the input is whole.
func (r Redaction) Empty() bool { return len(r.Erased) == 0 && len(r.Masked) == 0 }

// Pointers are all places where the input is not what was evaluated, sorted.
func (r Redaction) Pointers() []string {
	return slices.Sorted(slices.Values(slices.Concat(r.Erased, r.Masked)))
}

// Overlaps says whether one of two JSON pointers is at or below the other.
func Overlaps(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, found := strings.CutPrefix(b, a)
	return found && (rest == "" || rest[0] == '/')
}

// RecordedInput is an input as it is kept.
type RecordedInput struct {
	JSON jsontext.Value
	Redaction
	Revision string // of the policies that said what to keep
}

// ReadInput reads an input as it was recorded.
func ReadInput(text jsontext.Value) (Input, error) {
	var in Input
	err := json.Unmarshal(text, &in, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true))
	if err != nil {
		return Input{}, err
	}
	if in.Hook == "" {
		return Input{}, errors.New("the input names no hook")
	}
	for _, object := range []*jsontext.Value{&in.Request, &in.Facts.Workspace} {
		if len(*object) == 0 { // it was erased
			*object = jsontext.Value("{}")
		}
	}
	return in, nil
}

// NewDecisionID makes an id of a decision of a time: version 7 with exactly its millisecond, so that a span of
// time is a span of ids.
func NewDecisionID(at time.Time) (uuid.UUID, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, err
	}
	setMillisecond(&id, at)
	return id, nil
}

// FirstDecisionID is the least id that a decision of this millisecond or later can have.
func FirstDecisionID(at time.Time) uuid.UUID {
	id := uuid.UUID{6: 0x70, 8: 0x80}
	setMillisecond(&id, at)
	return id
}

func setMillisecond(id *uuid.UUID, at time.Time) {
	var milliseconds [8]byte
	binary.BigEndian.PutUint64(milliseconds[:], uint64(max(at.UnixMilli(), 0)))
	copy(id[:6], milliseconds[2:])
}

// DecisionFilter selects decisions; zero values select all.
type DecisionFilter struct {
	Hook        string
	Allowed     *bool // allows or denies; neither has failed
	Failed      *bool // whether an error was answered
	Code        string
	WorkspaceID uuid.UUID
	UID         string
	Since       time.Time // of Decision.At, inclusive
	Until       time.Time // exclusive
}

// Passes says whether d is selected.
func (f DecisionFilter) Passes(d *Decision) bool {
	failed := d.Failed != nil
	return (f.Hook == "" || f.Hook == d.Hook) &&
		(f.Allowed == nil || !failed && *f.Allowed == d.Verdict.Allowed()) &&
		(f.Failed == nil || *f.Failed == failed) &&
		(f.Code == "" || f.Code == d.Code()) &&
		(f.WorkspaceID == uuid.Nil || f.WorkspaceID == d.WorkspaceID) &&
		(f.UID == "" || f.UID == d.UID) &&
		(f.Since.IsZero() || !d.At.Before(f.Since)) &&
		(f.Until.IsZero() || d.At.Before(f.Until))
}

// idSlack is by how much the id of a decision can be later than its time: in records of before ids were made of
// it, as long as a review took.
const idSlack = time.Minute

// IDs are bounds of the ids of what the filter selects, for stores that look decisions up by their ids: from
// first, inclusive, to last, exclusive. Nil is no bound.
func (f DecisionFilter) IDs() (first, last uuid.UUID) {
	if !f.Since.IsZero() {
		first = FirstDecisionID(f.Since)
	}
	if !f.Until.IsZero() {
		last = FirstDecisionID(f.Until.Add(idSlack))
	}
	return first, last
}

// DecisionQuery asks for one page of decisions in the order of their ids, which is that of their times to a
// millisecond.
type DecisionQuery struct {
	DecisionFilter
	OldestFirst bool      // else the newest first
	After       uuid.UUID // the last id of the page before, Nil for the first page
	Limit       int       // at least 1
}

// LedgerDecision is a decision at its place in the ledger.
type LedgerDecision struct {
	Decision Decision
	// Seq is the ledger's own order of all decisions, from 1, with gaps. Where decisions are written side by side,
	// a lower one may be committed after a higher one has been read.
	Seq int64
}

// Pruned is what was deleted because of its age.
type Pruned struct {
	Decisions  int64    // 0 where whole partitions went, whose rows nobody counts
	UIDs       int64    // of requests, which can be asked again then
	Partitions []string // names of those that were dropped
}

// NewProbe is a decision that a ledger writes and takes back, to see whether it could write one: it has a uid of its own,
// an input of an ordinary size, and is nobody's.
func NewProbe(at time.Time) (Decision, error) {
	id, err := NewDecisionID(at)
	if err != nil {
		return Decision{}, err
	}
	const usual = 2 << 10 // bytes of the input of a register with a card
	return Decision{
		ID: id, At: at, UID: "gatehouse-probe-" + id.String(), Hook: "probe", Kind: KindLabel("probe", ""), CallerProof: Token,
		Input: jsontext.Value(`"` + strings.Repeat("x", usual) + `"`), Verdict: NewVerdict(nil, "probe"),
	}, nil
}
