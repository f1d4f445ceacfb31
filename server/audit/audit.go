package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/server/admission"
)

const (
	// Hook is whose rules a workspace is held to.
	Hook = "register"
	// Caller is the caller of what an audit denies.
	Caller = "audit"
	// Kept is how many runs of the live policies are kept, with their findings, and how many of candidates. Runs of
	// candidates never push out runs of the live policies.
	Kept = 30
	// Most is how many runs are kept at most.
	Most = 2 * Kept
)

var (
	// ErrBusy says that another process audits this store.
	ErrBusy = errors.New("another audit of this database is running")
	// ErrLost says that another process may audit this store by now.
	ErrLost = errors.New("the right to audit this database was lost")
)

// Workspaces lists what is stored.
type Workspaces interface {
	// WorkspacesAfter gives up to limit workspaces whose ids are greater than after, in order of ids. One with
	// bad facts comes without any.
	WorkspacesAfter(ctx context.Context, after uuid.UUID, limit int) ([]StoredWorkspace, error)
}

// Runs keeps what audits found.
type Runs interface {
	// Audits are the last so many runs, newest first.
	Audits(ctx context.Context, limit int) ([]Run, error)
	// SaveAudit keeps a run as it is now, and new findings, in one transaction.
	SaveAudit(ctx context.Context, run Run, findings []Finding) error
	// PruneAudits deletes all but the newest so many runs of the live policies, and so many of candidates, with
	// their findings.
	PruneAudits(ctx context.Context, keep int) error
}

// Lock lets one process at a time do what name says. lost is closed once another process may do it.
type Lock interface {
	Exclusive(ctx context.Context, name string) (release func(), lost <-chan struct{}, held bool, err error)
}

// Ruleset is one immutable snapshot of policies, with its name.
type Ruleset interface {
	admission.Ruleset
	Revision() string
	// OfStored gives the same policies without the rules of a hook that read members of a request other than the known
	// ones. It tells which of the known ones the hook reads, and which rules were left out.
	OfStored(ctx context.Context, hook string, known []string) (Stored, error)
}

// Stored are policies as they judge stored workspaces.
type Stored struct {
	Rules     admission.Ruleset
	Read      []string // members of the request
	NotJudged []NotJudged
}

// Meter counts what became of runs that this process worked on.
type Meter interface {
	AuditRan(result string)
}

// What became of a run. It is interrupted when it was told to stop or lost its lock, and failed when it could not go on.
const (
	Interrupted = "interrupted"
	Failed      = "failed"
)

// Setting is what verdicts depend on besides the policies and the stored workspaces.
type Setting struct {
	Deployment    admission.Deployment
	FactsRevision string // of the query for facts
}

// of says whether the verdicts of a run were given in this setting.
func (s Setting) of(run Run) bool {
	return run.Deployment != nil && *run.Deployment == s.Deployment && run.FactsRevision == s.FactsRevision
}

// live says whether the verdicts of a run are those of servers in this setting.
func (s Setting) live(run Run) bool { return !run.Candidate && s.of(run) }

// Last gives the newest finished run whose verdicts are those of servers in this setting, nil if there is none.
func (s Setting) Last(runs []Run) *Run {
	at := slices.IndexFunc(runs, func(r Run) bool { return r.State == Finished && s.live(r) })
	if at < 0 {
		return nil
	}
	return &runs[at]
}

// Options are what an Audit needs. Zero values but those of ports are defaults.
type Options struct {
	Workspaces Workspaces
	Runs       Runs
	Lock       Lock
	Policies   func() Ruleset // of the run, nil if there are none
	Candidate  bool           // Policies gives what servers do not have live
	Setting
	// Gate denies, where the verdict marks. Its policies are replaced by those of the run. Nil: nothing is enforced.
	Gate *admission.Gate

	Evaluator admission.Evaluator
	Parallel  int              // workspaces at once; 1
	Rate      int              // workspaces a second; 0 for as many as can be
	Fresh     bool             // a run that was interrupted is not gone on with
	Progress  func(run Run)    // hears of every page once it is saved; may be nil
	Meter     Meter            // may be nil
	Now       func() time.Time // time.Now
	Logger    *slog.Logger     // nil: nothing is logged
}

// Audit audits. Its methods may be called from several goroutines; while one runs, others get ErrBusy.
type Audit struct {
	options Options
}

// New makes an Audit.
func New(options Options) *Audit {
	options.Parallel = max(options.Parallel, 1)
	if options.Progress == nil {
		options.Progress = func(Run) {}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	return &Audit{options: options}
}

// Run goes on with the run that was interrupted, if it was one with the same policies, setting and effect, or makes
// a new one. When ctx ends it saves what it has and returns ctx's error with the run as it is. It gives
// ErrBusy where another process audits.
func (a *Audit) Run(ctx context.Context) (Run, error) {
	var done Run
	err := a.alone(ctx, func(ctx context.Context) error {
		var err error
		done, err = a.work(ctx)
		return err
	})
	return done, err
}

// alone runs do under the lock of audits. The ctx of do ends with the cause ErrLost when the lock is lost.
func (a *Audit) alone(ctx context.Context, do func(ctx context.Context) error) error {
	release, lost, held, err := a.options.Lock.Exclusive(ctx, "audit")
	if err != nil {
		return fmt.Errorf("asking for the right to audit: %w", err)
	}
	if !held {
		return ErrBusy
	}
	defer release()
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel(nil)
	watching.Go(func() {
		select {
		case <-lost:
			cancel(ErrLost)
		case <-ctx.Done():
		}
	})
	return do(ctx)
}

// work takes a run to its end.
func (a *Audit) work(ctx context.Context) (Run, error) {
	r, err := a.begin(ctx)
	if err != nil {
		a.meter(Failed)
		return Run{}, err
	}
	log := a.options.Logger.With("audit_id", r.state.ID, "policy_revision", r.state.Revision, "enforce", r.state.Enforce)
	log.Info("audit begins", "after", r.state.Evaluated)
	err = r.pages(ctx)
	if err == nil {
		err = r.finish(ctx)
	}
	said := []any{
		"evaluated", r.state.Evaluated, "denied", r.state.Denied, "warned", r.state.Warned, "failed", r.state.Failed,
		"marked", r.state.Marked, "worked", r.state.Worked,
	}
	switch {
	case err == nil:
		a.meter(string(Finished))
		log.Info("audit finished", said...)
	case ctx.Err() != nil:
		a.meter(Interrupted)
		log.Warn("audit is interrupted", append(said, "error", err)...)
		err = context.Cause(ctx)
	default:
		a.meter(Failed)
		log.Error("audit cannot go on", append(said, "error", err)...)
	}
	return r.state, err
}

func (a *Audit) meter(result string) {
	if a.options.Meter != nil {
		a.options.Meter.AuditRan(result)
	}
}

// begin gives the run to work on. This process has the lock, so nobody works on runs that are stored as running.
func (a *Audit) begin(ctx context.Context) (*run, error) {
	rules := a.options.Policies()
	if rules == nil {
		return nil, errors.New("auditing: no policies are active")
	}
	if !rules.HasHook(Hook) {
		return nil, fmt.Errorf("auditing: no policy defines the hook %s", Hook)
	}
	runs, err := a.options.Runs.Audits(ctx, Most)
	if err != nil {
		return nil, fmt.Errorf("reading the audits of before: %w", err)
	}
	var state *Run
	for i := range runs {
		if runs[i].State != Running {
			continue
		}
		if state == nil && a.continues(runs[i], rules) {
			state = &runs[i]
			continue
		}
		runs[i].State, runs[i].UpdatedAt = Abandoned, a.now()
		err = a.options.Runs.SaveAudit(ctx, runs[i], nil)
		if err != nil {
			return nil, fmt.Errorf("giving an interrupted audit up: %w", err)
		}
	}
	if state == nil {
		state, err = a.newRun(ctx, rules)
		if err != nil {
			return nil, err
		}
	}
	state.Candidate = a.options.Candidate // this may have changed since the run began
	return a.newWork(*state, rules), nil
}

func (a *Audit) continues(old Run, rules Ruleset) bool {
	return !a.options.Fresh && old.Hook == Hook && old.Enforce == a.enforces() && old.Revision == rules.Revision() &&
		a.options.of(old)
}

func (a *Audit) enforces() bool { return a.options.Gate != nil }

func (a *Audit) newRun(ctx context.Context, rules Ruleset) (*Run, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("making an id of an audit: %w", err)
	}
	now, deployment := a.now(), a.options.Deployment
	state := &Run{
		ID: id, Hook: Hook, State: Running, Enforce: a.enforces(), Revision: rules.Revision(),
		Candidate: a.options.Candidate, Deployment: &deployment, FactsRevision: a.options.FactsRevision,
		StartedAt: now, UpdatedAt: now, Violations: map[string]int64{},
	}
	err = a.options.Runs.SaveAudit(ctx, *state, nil)
	if err != nil {
		return nil, fmt.Errorf("saving a new audit: %w", err)
	}
	return state, nil
}

// now is in whole microseconds, as stores keep it.
func (a *Audit) now() time.Time { return a.options.Now().UTC().Truncate(time.Microsecond) }
