package shadow

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Source is where a candidate comes from.
type Source interface {
	// Name is what the source is called in messages.
	Name() string
	// Candidate fetches the candidate and checks it as live policies are. It gives nil where the source has what is live.
	Candidate(ctx context.Context) (*Candidate, error)
}

// Refusal says why a source has given no candidate.
type Refusal struct {
	Source string
	At     time.Time
	Err    error
}

// Loader makes what a source has the candidate of a Shadow, in the background: it must not keep a server from serving.
type Loader struct {
	shadow  *Shadow
	source  Source
	log     *slog.Logger
	refused atomic.Pointer[Refusal]
	loading sync.Mutex // one load at a time
	loads   sync.WaitGroup
}

// NewLoader gives a Loader that has loaded nothing yet. The source may be nil: then there is nothing to load.
func NewLoader(shadow *Shadow, source Source, logger *slog.Logger) *Loader {
	return &Loader{shadow: shadow, source: source, log: logger}
}

// Load reads the candidate, or reads it again. One that is refused, or is what is live, is none. The context is that of
// the fetch, not of the call.
func (l *Loader) Load(ctx context.Context) {
	if l.source == nil {
		return
	}
	l.shadow.Expect()
	l.loads.Go(func() {
		l.loading.Lock()
		defer l.loading.Unlock()
		candidate, err := l.source.Candidate(ctx)
		if err != nil {
			l.shadow.Use(nil)
			l.refused.Store(&Refusal{Source: l.source.Name(), At: time.Now().UTC(), Err: err})
			l.log.Error("the candidate policies were refused; there is no shadow", "source", l.source.Name(), "error", err)
			return
		}
		l.refused.Store(nil)
		l.shadow.Use(candidate)
		if candidate == nil {
			l.log.Info("the candidate policies are those that are live; there is no shadow", "source", l.source.Name())
			return
		}
		l.log.Info("candidate policies are evaluated beside the live ones",
			"source", candidate.Source, "candidate_revision", candidate.Revision)
	})
}

// Refused is why there is no candidate, nil if none was refused.
func (l *Loader) Refused() *Refusal { return l.refused.Load() }

// Close waits for what is being loaded.
func (l *Loader) Close() { l.loads.Wait() }
