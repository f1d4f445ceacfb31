package audit_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("the database is away")

// memory is a store without a database.
type memory struct {
	mutex    sync.Mutex
	rows     []audit.StoredWorkspace // in order of ids
	runs     []audit.Run             // newest first
	findings map[uuid.UUID][]audit.Finding
	saves    int
	held     bool
	lost     chan struct{}
	fail     error
	ledger   map[string]admission.Decision // by uid
}

func newMemory(rows ...audit.StoredWorkspace) *memory {
	return &memory{
		rows: rows, findings: make(map[uuid.UUID][]audit.Finding), lost: make(chan struct{}),
		ledger: make(map[string]admission.Decision),
	}
}

// id is the workspace of a number, in order.
func id(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// stored is a workspace whose row says so.
func stored(t require.TestingT, n int, row string) audit.StoredWorkspace {
	facts, err := admission.NewFacts(true, []byte(row), nil, nil)
	require.NoError(t, err)
	return audit.StoredWorkspace{ID: id(n), Facts: facts}
}

// named are workspaces that rulesFrom decides by their names.
func named(t require.TestingT, names ...string) []audit.StoredWorkspace {
	rows := make([]audit.StoredWorkspace, len(names))
	for i, name := range names {
		rows[i] = stored(t, i+1, `{"kind": "workspace", "status": "online", "name": "`+name+`"}`)
	}
	return rows
}

func (m *memory) WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]audit.StoredWorkspace, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	from := slices.IndexFunc(m.rows, func(w audit.StoredWorkspace) bool { return w.ID.String() > after.String() })
	if from < 0 {
		return nil, ctx.Err()
	}
	return slices.Clone(m.rows[from:min(from+limit, len(m.rows))]), ctx.Err()
}

func (m *memory) Audits(_ context.Context, limit int) ([]audit.Run, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	runs := slices.Clone(m.runs[:min(limit, len(m.runs))])
	for i := range runs {
		runs[i].Violations = maps.Clone(runs[i].Violations)
	}
	return runs, m.fail
}

func (m *memory) SaveAudit(ctx context.Context, run audit.Run, findings []audit.Finding) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.saves++
	run.Violations = maps.Clone(run.Violations)
	m.findings[run.ID] = append(m.findings[run.ID], findings...)
	at := slices.IndexFunc(m.runs, func(r audit.Run) bool { return r.ID == run.ID })
	if at < 0 {
		m.runs = slices.Insert(m.runs, 0, run)
		return ctx.Err()
	}
	m.runs[at] = run
	return ctx.Err()
}

func (m *memory) PruneAudits(_ context.Context, keep int) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	kept := make(map[bool]int)
	m.runs = slices.DeleteFunc(m.runs, func(r audit.Run) bool {
		kept[r.Candidate]++
		return kept[r.Candidate] > keep
	})
	return nil
}

func (m *memory) Exclusive(_ context.Context, name string) (func(), <-chan struct{}, bool, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if name != "audit" {
		return nil, nil, false, errors.New("another lock")
	}
	if m.held {
		return nil, nil, false, nil
	}
	m.held = true
	return func() {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		m.held = false
	}, m.lost, true, nil
}

// Facts, Recorded, Record and RecordAndMark are what a gate needs.
func (m *memory) Facts(_ context.Context, workspaceID uuid.UUID) (admission.Facts, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, row := range m.rows {
		if row.ID == workspaceID {
			return row.Facts, nil
		}
	}
	return admission.NewFacts(false, nil, nil, nil)
}

func (m *memory) Recorded(_ context.Context, of admission.RequestKey) (admission.Decision, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	d, found := m.ledger[of.UID]
	if !found {
		return admission.Decision{}, admission.ErrNotRecorded
	}
	return d, nil
}

func (m *memory) Record(_ context.Context, d admission.Decision) (admission.Decision, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.ledger[d.UID] = d
	return d, nil
}

func (m *memory) RecordAndMark(ctx context.Context, d admission.Decision, _ admission.Facts, _ admission.Judge) (admission.Judged, error) {
	err := d.Mark()
	if err != nil {
		return admission.Judged{}, err
	}
	recorded, err := m.Record(ctx, d)
	return admission.Judged{Decision: recorded}, err
}

// gate is a gate on the store, which observes nothing.
func (m *memory) gate() *admission.Gate {
	return &admission.Gate{
		Facts: m, Ledger: m, Failures: nobody{}, Observer: nobody{}, Now: time.Now,
		Limits: admission.Limits{Facts: time.Minute, Policy: time.Minute, Request: time.Minute},
	}
}

type nobody struct{}

func (nobody) Failed(admission.FailedReview)               {}
func (nobody) Reviewed(context.Context, admission.Outcome) {}

// rules decide by a word in the workspace's name, and note what they were asked.
type rules struct {
	revision string
	mutex    sync.Mutex
	asked    []admission.Input
	before   func(admission.Input)
}

func (r *rules) Revision() string         { return r.revision }
func (r *rules) HasHook(hook string) bool { return hook == audit.Hook }

func (r *rules) OfStored(context.Context, string, []string) (audit.Stored, error) {
	return audit.Stored{Rules: r}, nil
}

func (r *rules) Mask(_ context.Context, _ admission.Decision, in admission.Input) (admission.RecordedInput, error) {
	text, err := in.JSON()
	return admission.RecordedInput{JSON: text, Revision: r.revision}, err
}

func (r *rules) Evaluate(ctx context.Context, in admission.Input, _ time.Time) (admission.Verdict, error) {
	if r.before != nil {
		r.before(in)
	}
	r.mutex.Lock()
	r.asked = append(r.asked, in)
	r.mutex.Unlock()
	var row struct {
		Name string `json:"name"`
	}
	err := json.Unmarshal(in.Facts.Workspace, &row)
	if strings.Contains(row.Name, "hanging") {
		<-ctx.Done()
	}
	if ctx.Err() != nil {
		return admission.Verdict{}, ctx.Err()
	}
	if err != nil || strings.Contains(row.Name, "broken") {
		return admission.Verdict{}, errors.New("the engine panicked")
	}
	var violations []admission.Violation
	add := func(word string, severity admission.Severity, enforcement admission.Enforcement, marks bool) {
		if strings.Contains(row.Name, word) {
			violations = append(violations, admission.Violation{
				Rule: word, Code: strings.ToUpper(word), Reason: word, Message: "It is " + word + ".",
				Severity: severity, Enforcement: enforcement, Status: 400, MarkFailed: marks,
			})
		}
	}
	add("nameless", admission.Critical, admission.Deny, true)
	add("spender", admission.High, admission.Deny, false)
	add("loud", admission.High, admission.Warn, false)
	add("quiet", admission.Critical, admission.Audit, false)
	return admission.NewVerdict(violations, r.revision), nil
}

// on gives options of an audit of the store with these rules.
func (m *memory) on(r audit.Ruleset, change ...func(*audit.Options)) *audit.Audit {
	options := audit.Options{Workspaces: m, Runs: m, Lock: m, Policies: func() audit.Ruleset { return r }}
	for _, c := range change {
		c(&options)
	}
	return audit.New(options)
}

// turnFunc are turns that need not be given back.
type turnFunc func(ctx context.Context) error

func (t turnFunc) Take(ctx context.Context) error { return t(ctx) }

func (turnFunc) Give() {}
