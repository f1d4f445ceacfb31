package httpapi

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"

	"github.com/molecule-ai/gatehouse/internal/deadline"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// Reviewer decides reviews; admission.Gate is the one there is. Its errors are *admission.Error.
type Reviewer interface {
	Review(ctx context.Context, r admission.Review) (admission.Decision, error)
}

// PolicyCatalogue tells what policies are live.
type PolicyCatalogue interface {
	PolicyStatus() PolicyStatus
}

// Observer hears of every request once it has been answered.
type Observer interface {
	Served(route, method string, status int, took time.Duration)
}

// Options are what a Server needs. Durations and sizes must be positive unless said otherwise.
type Options struct {
	Reviewer      Reviewer
	Policies      PolicyCatalogue
	Workspaces    WorkspaceStore // nil where facts are in the registry's own database
	SecretKeys    SecretKeyStore // nil likewise
	Authenticator *Authenticator
	// Ready gives nil if reviews can be decided, else an *admission.Error that anybody may see, and that is logged already.
	Ready          func(ctx context.Context) error
	Metrics        http.Handler
	Observer       Observer
	Logger         *slog.Logger
	Events         Source[admission.Event]    // nil: there is no stream of events
	Decisions      DecisionReader             // nil: decisions are not shown
	DecisionStream Source[admission.Decision] // nil: there is no stream of decisions
	Audits         AuditReader                // nil: audits are not shown
	Streams        StreamOptions
	Announcements  AnnouncementLister
	Shadow         Shadow // nil: there is never a candidate
	WhatIf         WhatIfOptions
	Replays        ReplayOptions
	DryRun         bool // Reviewer enforces nothing

	RequestTimeout time.Duration // from a request's arrival to its answer
	MaxBodyBytes   int64
	MaxBatchBytes  int64
	MaxDepth       int // levels of nesting in a body
	MaxInFlight    int // reviews and batches being answered at once
	BatchParallel  int // reviews of one batch being decided at once
	RateLimit      int // requests a second and caller; 0 for none
}

// Server answers HTTP. It is an http.Handler and safe for concurrent use.
type Server struct {
	options  Options
	routes   http.Handler
	places   chan struct{}
	buffers  sync.Pool // of *bytes.Buffer, for bodies and answers
	streams  *streams
	replays  *replay.Runs
	rate     *httprate.RateLimiter
	draining atomic.Bool
}

// New makes a Server.
func New(options Options) *Server {
	s := &Server{
		options: options,
		places:  make(chan struct{}, options.MaxInFlight),
		streams: newStreams(options.Streams),
		replays: replay.NewRuns(replay.RunsOptions{
			Records: options.Replays.Records, Evaluator: options.Replays.Evaluator, Now: options.Replays.Now, Logger: options.Logger,
		}),
		rate: httprate.NewRateLimiter(options.RateLimit, time.Second),
	}
	s.buffers.New = func() any { return new(bytes.Buffer) }
	s.routes = s.router()
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Leave makes the server report not ready, so that no new work is sent to it before it stops. It answers as before.
func (s *Server) Leave() { s.draining.Store(true) }

// Drain is Leave, and ends replays and the streams, for which a graceful stop would wait for ever.
func (s *Server) Drain() {
	s.Leave()
	s.streams.end()
	s.replays.End()
}

func (s *Server) router() http.Handler {
	r := chi.NewRouter()
	r.Use(byDecodedPath, middleware.GetHead, traced, s.observed, s.recovered(s.writeProblem), s.bodyDeadline)
	r.NotFound(s.problems(noSuchPath))
	r.MethodNotAllowed(s.problems(noSuchMethod(r)))

	// Probes and scrapers add queries of their own. These answers depend on none, so that there is nothing to misread.
	r.Get("/healthz", s.healthz)
	r.Get("/readyz", s.problems(s.readyz))
	r.Method(http.MethodGet, "/metrics", s.options.Metrics)
	r.Get("/openapi.json", s.serveOpenAPI)
	r.Group(func(r chi.Router) {
		r.Use(s.authenticate(s.writeProblem, RoleRegistry), s.queried(s.writeProblem), s.deadline, s.rateLimited(s.writeProblem), s.bounded(s.writeProblem))
		r.Post("/v1/admission/{hook}", s.problems(s.review))
		r.Post("/v1/admission/{hook}/batch", s.problems(s.reviewBatch))
		r.Put("/v1/workspaces/{id}", s.problems(s.putWorkspace))
		r.Delete("/v1/workspaces/{id}", s.problems(s.deleteWorkspace))
		r.Put("/v1/workspaces/{id}/secrets/{key}", s.problems(s.putSecretKey))
		r.Delete("/v1/workspaces/{id}/secrets/{key}", s.problems(s.deleteSecretKey))
	})
	r.Group(func(r chi.Router) {
		r.Use(s.recovered(s.writeRelayError), s.authenticate(s.writeRelayError, RoleRegistry), s.queried(s.writeRelayError), s.deadline, s.rateLimited(s.writeRelayError), s.bounded(s.writeRelayError))
		r.Post("/registry/register", s.relay)
	})
	r.Group(func(r chi.Router) {
		r.Use(s.authenticate(s.writeProblem, RoleRegistry, RoleAuthor, RoleViewer), s.queried(s.writeProblem), s.deadline)
		r.Get("/v1/policies", s.problems(s.policies))
		r.Get("/v1/policies/shadow", s.problems(s.shadow))
		r.Get("/v1/announcements", s.problems(s.announcements))
		if s.options.Decisions != nil {
			r.Get("/v1/decisions", s.problems(s.decisions))
			r.Get("/v1/decisions/{id}", s.problems(s.decision))
		}
		if s.options.Audits != nil {
			r.Get("/v1/audits", s.problems(s.audits))
			r.Get("/v1/audits/{id}", s.problems(s.audit))
			r.Get("/v1/audits/{id}/findings", s.problems(s.auditFindings))
		}
	})
	r.Group(func(r chi.Router) {
		r.Use(s.authenticate(s.writeProblem, RoleRegistry, RoleAuthor), s.queried(s.writeProblem), s.deadline, s.rateLimited(s.writeProblem), s.bounded(s.writeProblem))
		r.Post("/v1/evaluate", s.problems(s.evaluate))
		r.Post("/v1/evaluate/batch", s.problems(s.evaluateBatch))
	})
	r.Group(func(r chi.Router) {
		r.Use(s.authenticate(s.writeProblem, RoleAuthor), s.queried(s.writeProblem), s.deadline)
		r.Post("/v1/policies/promote", s.problems(s.promote))
		if s.options.Replays.Records != nil {
			r.Post("/v1/replays", s.problems(s.startReplay))
			r.Get("/v1/replays", s.problems(s.listReplays))
			r.Get("/v1/replays/{id}", s.problems(s.showReplay))
			r.Delete("/v1/replays/{id}", s.problems(s.cancelReplay))
		}
	})
	streaming := r.With(s.authenticate(s.writeProblem, RoleRegistry, RoleAuthor, RoleViewer), s.queried(s.writeProblem))
	if s.options.Events != nil {
		streaming.Get("/v1/events/stream", s.problems(s.streamEvents))
	}
	if s.options.DecisionStream != nil {
		streaming.Get("/v1/decisions/stream", s.problems(s.streamDecisions))
	}
	return r
}

// deadline starts the clock at a request's arrival: a slow body counts.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := deadline.Within(r.Context(), s.options.RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
