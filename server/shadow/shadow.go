// Package shadow evaluates candidate policies on the reviews that the live ones decide, and records where they decide
// otherwise.
//
// It works off the path of requests: a review is put in a queue once it has been decided and recorded, and where
// the queue is full it is dropped and counted. It never changes an answer, and it does not decide whether the candidate is
// any better.
package shadow

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/internal/groupcommit"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Store keeps divergences and counts.
type Store interface {
	RecordDivergences(ctx context.Context, batch []Divergence) error
	AddShadowCounts(ctx context.Context, at time.Time, counts map[Pair]Counts) error
	PruneDivergences(ctx context.Context, before time.Time, keep int) (int64, error)
}

// Meter counts what comes of reviews. Its methods must not block.
type Meter interface {
	// Evaluated hears same, diverged or error of each evaluation.
	Evaluated(result string)
	Diverged(kind admission.DivergenceKind, code string)
	Dropped()
	// RecordFailed hears of a divergence that could not be stored.
	RecordFailed()
}

// Candidate is a checked set of policies that is not live.
type Candidate struct {
	Rules    admission.Evaluable `json:"-"`
	Revision string              `json:"revision"`
	Source   string              `json:"source"`
	Since    time.Time           `json:"since"`
}

// Options of a Shadow. Store, Meter and Logger are required, the other zero values stand for the defaults.
type Options struct {
	Store  Store
	Meter  Meter
	Logger *slog.Logger
	Now    func() time.Time

	Evaluator admission.Evaluator // its Timeout is 250 ms by default, as live ones have
	Queue     int                 // most reviews that wait; 1024
	MaxSize   int64               // most bytes of their requests and facts together; 32 MiB

	Pace   time.Duration // between two writes of divergences; 100 ms
	Report time.Duration // between two writes of counts; 1 s
	Tidy   time.Duration // between two deletions of old divergences, where there are new ones; 1 min
}

const (
	// maxWriting bounds the divergences that wait for the store. Beyond, evaluating waits too, the queue fills,
	// and reviews are dropped.
	maxWriting = 256
	// writeTimeout is far longer than a write takes. A store that is away delays a writer by no more.
	writeTimeout = 5 * time.Second
	// keptDivergences and keptFor bound what is stored.
	keptDivergences = 100_000
	keptFor         = 30 * 24 * time.Hour
)

// Shadow evaluates a candidate. It implements admission.Observer and is safe for concurrent use.
type Shadow struct {
	options   Options
	candidate atomic.Pointer[Candidate]
	expecting atomic.Bool      // a candidate is being loaded
	missed    map[string]int64 // by live revision, reviews that a candidate was not there for yet
	changing  sync.Mutex       // of candidate, expecting and missed
	queue     chan job
	size      atomic.Int64 // of what is queued
	records   *groupcommit.Group[Divergence, struct{}]
	writing   errgroup.Group
	counts    counts
	wrote     time.Time   // by the one flusher of records
	untidy    atomic.Bool // divergences were written since the old ones were deleted

	working context.Context
	stop    context.CancelFunc
	workers sync.WaitGroup
}

// job is a review with the candidate that was there when it was answered.
type job struct {
	candidate admission.Evaluable
	input     admission.Input
	found     Divergence // its decision and both revisions; the rest comes of evaluating
	size      int64
}

func (j *job) pair() Pair {
	return Pair{Live: j.found.Live.Revision, Candidate: j.found.Candidate.Revision}
}

// New starts a Shadow without a candidate. One evaluation runs at a time, so a shadow never takes more than one core from the
// live evaluations.
func New(o Options) *Shadow {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Evaluator.Timeout = cmp.Or(o.Evaluator.Timeout, 250*time.Millisecond)
	o.Queue = cmp.Or(o.Queue, 1024)
	o.MaxSize = cmp.Or(o.MaxSize, 32<<20)
	o.Pace = cmp.Or(o.Pace, 100*time.Millisecond)
	o.Report = cmp.Or(o.Report, time.Second)
	o.Tidy = cmp.Or(o.Tidy, time.Minute)
	s := &Shadow{options: o, queue: make(chan job, o.Queue)}
	s.working, s.stop = context.WithCancel(context.Background())
	s.records = groupcommit.New(groupcommit.Options{MaxBatch: maxWriting}, s.flush)
	s.writing.SetLimit(maxWriting)
	s.workers.Go(s.evaluateAll)
	s.workers.Go(s.keepBooks)
	return s
}

// Close drops what is queued, writes what was found, and ends.
func (s *Shadow) Close() {
	s.candidate.Store(nil)
	s.stop()
	s.workers.Wait()
	_ = s.writing.Wait() // its functions give no errors
	s.records.Close()
	s.dropQueued()
	s.report(context.Background())
}

// Expect says that Use is about to be called. Reviews that come before it count as dropped once there is a candidate.
func (s *Shadow) Expect() { s.expecting.Store(true) }

// Use makes c the candidate, nil for none.
func (s *Shadow) Use(c *Candidate) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.candidate.Store(c)
	s.expecting.Store(false)
	missed := s.missed
	s.missed = nil
	if c == nil {
		return
	}
	for live, n := range missed {
		if live == c.Revision {
			continue
		}
		for range n {
			s.options.Meter.Dropped()
		}
		s.counts.add(Pair{Live: live, Candidate: c.Revision}, Counts{Dropped: n})
	}
}

// missing gives the candidate, and counts the review if there still is none.
func (s *Shadow) missing(o admission.Outcome) *Candidate {
	s.changing.Lock()
	defer s.changing.Unlock()
	candidate := s.candidate.Load()
	if candidate != nil || !s.expecting.Load() || isNoNewDecision(o) {
		return candidate
	}
	if s.missed == nil {
		s.missed = make(map[string]int64)
	}
	s.missed[o.Decision.Verdict.Revision]++
	return nil
}

// Candidate gives the candidate, nil if there is none.
func (s *Shadow) Candidate() *Candidate { return s.candidate.Load() }

// Queued is how many reviews wait.
func (s *Shadow) Queued() int { return len(s.queue) }

// Promote takes the candidate away and hands it to activate, unless that refuses it. revision says which one is
// meant, "" for whichever there is. Of several calls at once one finds the candidate.
func (s *Shadow) Promote(revision string, activate func(*Candidate) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	candidate := s.candidate.Load()
	switch {
	case candidate == nil:
		return &admission.Error{Code: admission.CodeNoCandidate, Detail: "this server has no candidate policies"}
	case revision != "" && revision != candidate.Revision:
		return &admission.Error{Code: admission.CodeCandidateChanged, Detail: "the candidate is " + candidate.Revision}
	}
	err := activate(candidate)
	if err == nil {
		s.candidate.Store(nil)
	}
	return err
}

// Reviewed implements admission.Observer. It queues what was decided by policies that are not the candidate, and
// neither waits nor fails. What was repeated or was a caller's own dry run is no new decision.
func (s *Shadow) Reviewed(_ context.Context, o admission.Outcome) {
	expecting := s.expecting.Load() // before the candidate, which is there before this is false again
	candidate := s.candidate.Load()
	if candidate == nil && expecting {
		candidate = s.missing(o)
	}
	if candidate == nil || isNoNewDecision(o) || o.Decision.Verdict.Revision == candidate.Revision {
		return
	}
	waiting := job{
		candidate: candidate.Rules, input: o.Input, size: int64(len(o.Input.Request) + len(o.Input.Facts.Workspace)),
		found: Divergence{
			At: o.Decision.At, DecisionID: o.Decision.ID, WorkspaceID: o.Decision.WorkspaceID, Hook: o.Input.Hook,
			Live: o.Decision.Verdict, Candidate: admission.Verdict{Revision: candidate.Revision},
		},
	}
	if s.size.Add(waiting.size) <= s.options.MaxSize {
		select {
		case s.queue <- waiting:
			return
		default:
		}
	}
	s.size.Add(-waiting.size)
	s.drop(&waiting)
}

func isNoNewDecision(o admission.Outcome) bool { return o.Err != nil || o.Repeated || o.Review.DryRun }

func (s *Shadow) drop(j *job) {
	s.options.Meter.Dropped()
	s.counts.add(j.pair(), Counts{Dropped: 1})
}

func (s *Shadow) dropQueued() {
	for {
		select {
		case left := <-s.queue:
			s.size.Add(-left.size)
			s.drop(&left)
		default:
			return
		}
	}
}

func (s *Shadow) evaluateAll() {
	for {
		select {
		case <-s.working.Done():
			return
		case next := <-s.queue:
			s.size.Add(-next.size)
			s.compare(&next)
		}
	}
}

// compare evaluates the candidate and stores what differs.
func (s *Shadow) compare(j *job) {
	found := j.found
	verdict, err := s.options.Evaluator.Evaluate(s.working, j.candidate, j.input, found.At)
	if s.working.Err() != nil { // the shadow ends, and this is no verdict of the candidate
		s.drop(j)
		return
	}
	if err != nil {
		found.Kind, found.Error = admission.CandidateError, ErrorText(err)
		s.counts.add(j.pair(), Counts{Evaluated: 1, Failed: 1})
		s.options.Meter.Evaluated("error")
		s.keep(found)
		return
	}
	kind, cause, differ := admission.Diverge(found.Live, verdict)
	if !differ {
		s.counts.add(j.pair(), Counts{Evaluated: 1})
		s.options.Meter.Evaluated("same")
		return
	}
	found.Kind, found.Rule, found.Code, found.Candidate.Violations = kind, cause.Rule, cause.Code, verdict.Violations
	s.counts.add(j.pair(), Counts{Evaluated: 1, Diverged: 1})
	s.options.Meter.Evaluated("diverged")
	s.keep(found)
}
