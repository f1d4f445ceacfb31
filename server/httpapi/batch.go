package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"

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
// failedAnswer with its uid. A review takes microseconds, so each worker takes the next one itself: an errgroup would hand
// over each of them.
func (s *Server) answerBatch(r *http.Request, n int, uid func(i int) string, answer func(i int) (any, error)) []any {
	answers := make([]any, n)
	var taken atomic.Int64
	var working sync.WaitGroup
	for range min(s.options.BatchParallel, n) {
		working.Go(func() {
			for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
				answered, err := s.withoutPanic(r.Context(), respond.Trace(r), func() (any, error) { return answer(i) })
				if err != nil {
					answered = failedAnswer{UID: uid(i), Error: respond.NewProblem(admission.AsError(err))}
				}
				answers[i] = answered
			}
		})
	}
	working.Wait()
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
