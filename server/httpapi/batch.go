package httpapi

import (
	"context"
	"net/http"

	"github.com/molecule-ai/gatehouse/internal/parallel"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// failedAnswer stands for a review of a batch that got no decision. It says allowed: false, so that a caller that reads
// nothing else is right.
type failedAnswer struct {
	UID     string          `json:"uid,omitempty"`
	Allowed bool            `json:"allowed"`
	Error   respond.Problem `json:"error"`
}

// answerBatch answers n reviews, BatchParallel of them at once, and keeps their order. An error or a panic of one is a
// failedAnswer with its uid.
func (s *Server) answerBatch(r *http.Request, n int, uid func(i int) string, answer func(i int) (any, error)) []any {
	answers := make([]any, n)
	trace := respond.Trace(r)
	each := func(ctx context.Context, i int) error {
		answered, err := s.withoutPanic(ctx, trace, func() (any, error) { return answer(i) })
		if err != nil {
			answered = failedAnswer{UID: uid(i), Error: respond.NewProblem(admission.AsError(err))}
		}
		answers[i] = answered
		return nil
	}
	// Not the request's own context: a caller that hangs up must not leave reviews without an answer.
	_ = parallel.Each(context.WithoutCancel(r.Context()), s.options.BatchParallel, n, each)
	return answers
}

// withoutPanic makes a panic an error. On a goroutine of its own, one that is not caught ends the process.
func (s *Server) withoutPanic(ctx context.Context, trace admission.Trace, answer func() (any, error)) (answered any, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = s.respond.Panicked(ctx, trace, cause)
		}
	}()
	return answer()
}
