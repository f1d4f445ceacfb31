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

// Failure is what kept a review from a verdict, as its caller was told. What lies behind it is in the log only:
// it can name hosts, columns and SQL.
type Failure struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Redaction says what a recorded input lacks, as JSON pointers that begin with /input. The words are those of OPA's decision
// logs: what was erased is gone, and what was masked is there in another form.
type Redaction struct {
	Erased []string `json:"erased,omitempty"`
	Masked []string `json:"masked,omitempty"`
}

// InputPointer is the pointer of the whole input.
const InputPointer = "/input"

// ErasedWhole is the redaction of an input of which nothing is kept. The recorded input is null.
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

// NewProbe makes a decision that a ledger writes and rolls back, to see whether it could record one. It has a uid of its own
// and an input of an ordinary size, and belongs to no workspace.
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

// CardPointer is the place of an agent's card. A record keeps only a part of it, unless policies read more.
const CardPointer = "/input/request/agent_card"

// NamePointer and URLPointer are what a masked card keeps as it was, unless a redaction names them too.
const (
	NamePointer = CardPointer + "/name"
	URLPointer  = CardPointer + "/url"
)

// Hides says whether the recorded input lacks something that a verdict depends on. reads are the pointers that the verdict
// reads, at or below; pointer is the first redaction in the way.
func (r Redaction) Hides(reads []string) (pointer string, hidden bool) {
	for _, pointer := range r.Pointers() {
		for _, read := range reads {
			if Overlaps(pointer, read) && !r.keeps(pointer, read) {
				return pointer, true
			}
		}
	}
	return "", false
}

// keeps says whether the mask at a pointer leaves what is read unchanged.
func (r Redaction) keeps(pointer, read string) bool {
	return pointer == CardPointer && (read == NamePointer || read == URLPointer) && !slices.Contains(r.Erased, pointer)
}
