// Package storetest says what a store of Gatehouse must do, as one suite of tests that every store passes.
//
// It knows the ports of package admission and nothing of any database: a store's own test gives it a Harness,
// which arranges workspaces and secrets as the registry would and looks at what the store has left behind.
package storetest

import (
	"context"
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/audit"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/retention"
	"github.com/molecule-ai/gatehouse/server/shadow"
)

// Store is what is tested.
type Store interface {
	admission.FactsReader
	admission.Ledger

	// Decision gives one by its id, or ledger.ErrNoDecision. Here, in pages and in the ledger, decisions come
	// without the digests of their requests.
	Decision(ctx context.Context, id uuid.UUID) (ledger.Decision, error)
	// Decisions gives one page in order of ids.
	Decisions(ctx context.Context, query ledger.Query) ([]ledger.Decision, error)
	// Summarize counts the decisions of a filter by their codes.
	Summarize(ctx context.Context, filter ledger.Filter) (ledger.Summary, error)
	// DecisionsAfter reads the ledger of decisions in the order of seq, as of one snapshot.
	DecisionsAfter(ctx context.Context, after int64, limit int) ([]ledger.Decision, error)
	// LastDecisionSeq is the greatest seq there is, 0 for none.
	LastDecisionSeq(ctx context.Context) (int64, error)
	// DecisionWriters names the transactions that may commit a decision whose seq is lower than one that can be read.
	DecisionWriters(ctx context.Context) ([]string, error)
	// PruneDecisions makes room for those to come and deletes those made before a time, with the uids of their
	// requests. It may keep those of the day (UTC) in which this time lies. Where another process does so already,
	// it does nothing.
	PruneDecisions(ctx context.Context, now, before time.Time) (ledger.Pruned, error)
	// PruneClock is the zero Clock before the first was kept.
	PruneClock(ctx context.Context) (retention.Clock, error)
	// SetPruneClock keeps it.
	SetPruneClock(ctx context.Context, clock retention.Clock) error

	// ShippedSeq is up to which seq decisions have been shipped to a collector, 0 for none.
	ShippedSeq(ctx context.Context, collector string) (int64, error)
	// SetShippedSeq keeps it.
	SetShippedSeq(ctx context.Context, collector string, seq int64) error
	// Exclusive gives the one right to do what name says, of all processes on this database, or held false if
	// another has it. It is lost when the process dies, and lost is closed when it is lost otherwise.
	Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error)

	// WorkspacesAfter gives up to limit stored workspaces whose ids are greater than after, in order of ids.
	WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]audit.StoredWorkspace, error)
	// CountWorkspaces is about how many there are: an estimate is enough for a progress bar.
	CountWorkspaces(ctx context.Context) (int64, error)
	// SaveAudit keeps a run as it is now, and findings that are new, in one transaction. Saving them again changes
	// nothing.
	SaveAudit(ctx context.Context, run audit.Run, findings []audit.Finding) error
	// Audits are the last so many runs, newest first.
	Audits(ctx context.Context, limit int) ([]audit.Run, error)
	// AuditFindings gives one page of the findings of a run, in order of workspaces.
	AuditFindings(ctx context.Context, query audit.Query) ([]audit.Finding, error)
	// PruneAudits deletes all but the newest so many runs of the live policies, and so many of candidates, with
	// their findings.
	PruneAudits(ctx context.Context, keep int) error

	// EventsAfter reads the ledger of events in the order of seq.
	EventsAfter(ctx context.Context, after int64, limit int) ([]ledger.Event, error)
	// LastEventSeq is the greatest seq there is, 0 for none.
	LastEventSeq(ctx context.Context) (int64, error)
	// EventWriters names the transactions that may commit an event whose seq is lower than one that can be read.
	EventWriters(ctx context.Context) ([]string, error)
	// ListenEvents calls wake when it begins and after every event, until ctx ends.
	ListenEvents(ctx context.Context, wake func())

	// RecordActivation records that policies became live or were refused.
	RecordActivation(ctx context.Context, activation ledger.Activation) error
	// Activations are the last so many, newest first.
	Activations(ctx context.Context, limit int) ([]ledger.Activation, error)
	// LiveRevision is that of the policies that were made live last, "" if none were.
	LiveRevision(ctx context.Context) (string, error)
	// LastSigned is the signed bundle that was made live last, nil if none was.
	LastSigned(ctx context.Context) (*ledger.Bundle, error)

	// RecordDivergences writes a batch; those that are there already stay as they are.
	RecordDivergences(ctx context.Context, batch []shadow.Divergence) error
	// AddShadowCounts adds to what has been counted of each pair.
	AddShadowCounts(ctx context.Context, at time.Time, counts map[shadow.Pair]shadow.Counts) error
	// PruneDivergences deletes those of decisions before a time, and all but the newest keep.
	PruneDivergences(ctx context.Context, before time.Time, keep int) (int64, error)
	// ShadowSummary says what came of a pair, or with the zero pair of the one that was compared last.
	ShadowSummary(ctx context.Context, pair shadow.Pair, examples int) (shadow.Summary, error)
}

// Harness is one store over one database that nothing else uses. Its methods act outside of the store, as
// another process would, may be called from several goroutines, and fail the test when they cannot do their
// work.
type Harness interface {
	Store() Store
	// AnotherStore is a second one on the same database, as another process would have it. It is closed when the
	// test has ended.
	AnotherStore(t testing.TB) Store

	// PutWorkspace inserts the row or replaces it.
	PutWorkspace(t testing.TB, id uuid.UUID, w admission.Workspace)
	// DeleteWorkspace deletes the row and its secrets.
	DeleteWorkspace(t testing.TB, id uuid.UUID)
	// PutSecret inserts a secret as the registry does: in one transaction, which waits for the row's lock. It
	// gives the row's status as that same transaction saw it after the insert, "" for NULL.
	PutSecret(t testing.TB, id uuid.UUID, key string) (status string)
	DeleteSecret(t testing.TB, id uuid.UUID, key string)
	PutGlobalSecret(t testing.TB, key string)

	// Row reads the workspace's row, which is there.
	Row(t testing.TB, id uuid.UUID) Row
	// StructureEvents are the registry's own events of the workspace, oldest first. A store that keeps none
	// (its registry is not in the same database) gives nil, false.
	StructureEvents(t testing.TB, id uuid.UUID) ([]StructureEvent, bool)
	// OutgoingEvents are the store's ledger of events of the workspace, oldest first: the id of each and its
	// message as JSON.
	OutgoingEvents(t testing.TB, id uuid.UUID) []OutgoingEvent
	// Announced are the events of the workspace that were handed to the outbox, in transactions that were
	// committed, in order of their sequence.
	Announced(t testing.TB, id uuid.UUID) []Announcement
	// Decisions are the ids of the recorded decisions of the workspace.
	Decisions(t testing.TB, id uuid.UUID) []uuid.UUID
}

// Row is what the tests look at of a workspace's row.
type Row struct {
	Status    string // "" for NULL
	LastError string // "" for NULL
	UpdatedAt time.Time
}

// StructureEvent is one of the registry's own events.
type StructureEvent struct {
	Type    string
	Payload []byte // JSON
}

// OutgoingEvent is one row of the ledger of events.
type OutgoingEvent struct {
	ID      uuid.UUID
	Message []byte // JSON
}

// Announcement is what the outbox was told of an event.
type Announcement struct {
	ID       uuid.UUID
	Sequence int64
}

// soakVariable asks for as many rounds and random sequences as "make soak" runs.
const soakVariable = "GATEHOUSE_SOAK"

// rounds are how often a test repeats what may go wrong by chance: all when the machine soaks, a quarter otherwise.
func rounds(all int) int {
	if os.Getenv(soakVariable) != "" {
		return all
	}
	return all / 4
}

// Run runs the suite. open gives a harness over an empty database, and closes it when the test it is given has
// ended.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	tests := map[string]map[string]func(*testing.T, Harness){
		"facts": factsTests, "record": recordTests, "uid": uidTests, "mark": markTests, "again": againTests, "race": raceTests,
		"model": modelTests, "events": eventsTests, "activations": activationTests, "shadow": shadowTests,
		"decisions": decisionsTests, "retention": retentionTests, "exclusive": exclusiveTests,
		"audit": auditTests, "workspaces": workspacesTests,
	}
	groups := []string{
		"facts", "record", "uid", "mark", "again", "race", "model", "events", "activations", "shadow",
		"decisions", "retention", "exclusive", "audit", "workspaces",
	}
	const sequences = 100 // what rapid takes by itself
	err := flag.Set("rapid.checks", strconv.Itoa(rounds(sequences)))
	if err != nil {
		t.Fatal(err)
	}
	for _, group := range groups {
		for name, test := range tests[group] {
			t.Run(group+"/"+name, func(t *testing.T) { test(t, open(t)) })
		}
	}
}
