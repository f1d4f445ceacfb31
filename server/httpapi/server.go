// Package httpapi is the HTTP service: routes, who may call them, and what goes over the wire.
//
// Handlers decode a request into types of package admission, ask the Gate, and write its answer. No handler writes an error:
// it returns one, and package respond turns it into a response.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/httprate"

	"github.com/molecule-ai/gatehouse/internal/deadline"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
	"github.com/molecule-ai/gatehouse/server/httpapi/sse"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// Reviewer decides reviews; admission.Gate is the one there is. Its errors are *admission.Error.
type Reviewer interface {
	Review(ctx context.Context, r admission.Review) (admission.Decision, error)
}

// Observer hears of every request once it has been answered.
type Observer interface {
	Served(route, method string, status int, took time.Duration)
}

// Options are what a Server needs. Durations and sizes must be positive unless said otherwise.
type Options struct {
	Reviewer      Reviewer
	Policies      resources.PolicyCatalogue
	Workspaces    resources.WorkspaceStore // nil where facts are in the registry's own database
	SecretKeys    resources.SecretKeyStore // nil likewise
	Authenticator *auth.Authenticator
	// Ready gives nil if reviews can be decided, else an *admission.Error that anybody may see, and that is logged already.
	Ready          func(ctx context.Context) error
	Metrics        http.Handler
	Observer       Observer
	Logger         *slog.Logger
	Events         sse.Source[admission.Event]    // nil: there is no stream of events
	Decisions      resources.DecisionReader       // nil: decisions are not shown
	DecisionStream sse.Source[admission.Decision] // nil: there is no stream of decisions
	Audits         resources.AuditReader          // nil: audits are not shown
	Streams        sse.Options
	Announcements  resources.AnnouncementLister
	Shadow         resources.Shadow // nil: there is never a candidate
	WhatIf         WhatIfOptions
	Replays        resources.ReplayOptions
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
	respond  *respond.Responder
	routes   http.Handler
	places   chan struct{}
	streams  *sse.Streams
	replays  *replay.Runs
	rate     *httprate.RateLimiter
	draining atomic.Bool
}

// New makes a Server.
func New(options Options) *Server {
	limits := respond.Limits{Body: options.MaxBodyBytes, Batch: options.MaxBatchBytes, Depth: options.MaxDepth}
	s := &Server{
		options: options,
		respond: respond.New(limits, options.Logger),
		places:  make(chan struct{}, options.MaxInFlight),
		streams: sse.New(options.Streams, options.Authenticator, options.Logger),
		replays: replay.NewRuns(options.Replays.RunsOptions),
		rate:    httprate.NewRateLimiter(options.RateLimit, time.Second),
	}
	s.routes = s.router()
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.routes.ServeHTTP(w, r) }

// Leave makes the server report not ready, so that no new work is sent to it before it stops. It answers as before.
func (s *Server) Leave() { s.draining.Store(true) }

// Drain is Leave, and ends replays and the streams, for which a graceful stop would wait for ever.
func (s *Server) Drain() {
	s.Leave()
	s.streams.End()
	s.replays.End()
}

func (s *Server) router() http.Handler {
	r := chi.NewRouter()
	r.Use(byDecodedPath, middleware.GetHead, respond.Traced, s.observed, s.recovered(s.respond.Problem), s.bodyDeadline)
	r.NotFound(s.respond.Handler(noSuchPath))
	r.MethodNotAllowed(s.respond.Handler(noSuchMethod(r)))

	// Probes and scrapers add queries of their own. These answers depend on none, so that there is nothing to misread.
	r.Get("/healthz", s.healthz)
	r.Get("/readyz", s.respond.Handler(s.readyz))
	r.Method(http.MethodGet, "/metrics", s.options.Metrics)
	r.Get("/openapi.json", s.serveOpenAPI)

	s.routeRegistry(r)
	s.routeWhatIf(r)
	s.routeReaders(r)
	s.routeAuthors(r)
	s.routeStreams(r)
	return r
}

// guarded are the middlewares of every route that not everybody may use. wire decides how an error looks.
func (s *Server) guarded(wire respond.ErrorWriter, roles ...auth.Role) chi.Middlewares {
	return chi.Middlewares{s.authenticate(wire, roles...), s.queried(wire)}
}

// limited are the middlewares of routes whose requests cost something.
func (s *Server) limited(wire respond.ErrorWriter) chi.Middlewares {
	return chi.Middlewares{s.deadline, s.rateLimited(wire), s.bounded(wire)}
}

// routeRegistry routes what a registry asks and tells.
func (s *Server) routeRegistry(r chi.Router) {
	handle := s.respond.Handler
	workspaces := resources.Workspaces{Respond: s.respond, Store: s.options.Workspaces, SecretKeys: s.options.SecretKeys}
	told := r.With(s.guarded(s.respond.Problem, auth.RoleRegistry)...).With(s.limited(s.respond.Problem)...)
	told.Post("/v1/admission/{hook}", handle(s.review))
	told.Post("/v1/admission/{hook}/batch", handle(s.reviewBatch))
	told.Put("/v1/workspaces/{id}", handle(workspaces.Put))
	told.Delete("/v1/workspaces/{id}", handle(workspaces.Delete))
	told.Put("/v1/workspaces/{id}/secrets/{key}", handle(workspaces.PutSecretKey))
	told.Delete("/v1/workspaces/{id}/secrets/{key}", handle(workspaces.DeleteSecretKey))

	relayed := r.With(s.recovered(s.writeRelayError)).With(s.guarded(s.writeRelayError, auth.RoleRegistry)...)
	relayed.With(s.limited(s.writeRelayError)...).Post("/registry/register", s.relay)
}

// routeWhatIf routes evaluations of which nothing is recorded.
func (s *Server) routeWhatIf(r chi.Router) {
	r = r.With(s.guarded(s.respond.Problem, auth.RoleRegistry, auth.RoleAuthor)...).With(s.limited(s.respond.Problem)...)
	r.Post("/v1/evaluate", s.respond.Handler(s.evaluate))
	r.Post("/v1/evaluate/batch", s.respond.Handler(s.evaluateBatch))
}

// routeReaders routes what everybody with a token may look at.
func (s *Server) routeReaders(r chi.Router) {
	o := &s.options
	r = r.With(s.guarded(s.respond.Problem, auth.RoleRegistry, auth.RoleAuthor, auth.RoleViewer)...).With(s.deadline)
	r.Get("/v1/policies", respond.Answer(s.respond, resources.Policies{Catalogue: o.Policies, DryRun: o.DryRun}.Show))
	r.Get("/v1/policies/shadow", respond.Answer(s.respond, resources.ShadowPolicies{Shadow: o.Shadow}.Show))
	r.Get("/v1/announcements", respond.Answer(s.respond, resources.Announcements{Lister: o.Announcements}.List))
	if o.Decisions != nil {
		decisions := resources.Decisions{Reader: o.Decisions}
		r.Get("/v1/decisions", respond.Answer(s.respond, decisions.List))
		r.Get("/v1/decisions/summary", respond.Answer(s.respond, decisions.Summary))
		r.Get("/v1/decisions/{id}", respond.Answer(s.respond, decisions.Show))
	}
	if o.Audits != nil {
		audits := resources.Audits{Reader: o.Audits}
		r.Get("/v1/audits", respond.Answer(s.respond, audits.List))
		r.Get("/v1/audits/{id}", respond.Answer(s.respond, audits.Show))
		r.Get("/v1/audits/{id}/findings", respond.Answer(s.respond, audits.Findings))
	}
}

// routeAuthors routes what only an author of policies may do.
func (s *Server) routeAuthors(r chi.Router) {
	handle, o := s.respond.Handler, &s.options
	r = r.With(s.guarded(s.respond.Problem, auth.RoleAuthor)...).With(s.deadline)
	r.Post("/v1/policies/promote", handle(resources.ShadowPolicies{Respond: s.respond, Shadow: o.Shadow}.Promote))
	if o.Replays.Records != nil {
		replays := resources.Replays{Respond: s.respond, Runs: s.replays, Policies: o.Replays.Policies, Now: o.Replays.Now}
		r.Post("/v1/replays", handle(replays.Start))
		r.Get("/v1/replays", respond.Answer(s.respond, replays.List))
		r.Get("/v1/replays/{id}", respond.Answer(s.respond, replays.Show))
		r.Delete("/v1/replays/{id}", respond.Answer(s.respond, replays.Cancel))
	}
}

// routeStreams routes what lasts until the client goes, and has no deadline.
func (s *Server) routeStreams(r chi.Router) {
	handle, o := s.respond.Handler, &s.options
	r = r.With(s.guarded(s.respond.Problem, auth.RoleRegistry, auth.RoleAuthor, auth.RoleViewer)...)
	if o.Events != nil {
		r.Get("/v1/events/stream", handle(resources.EventStream{Streams: s.streams, Source: o.Events}.Stream))
	}
	if o.DecisionStream != nil {
		r.Get("/v1/decisions/stream", handle(resources.DecisionStream{Streams: s.streams, Source: o.DecisionStream}.Stream))
	}
}

// deadline starts the clock at a request's arrival: a slow body counts.
func (s *Server) deadline(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := deadline.Within(r.Context(), s.options.RequestTimeout)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
