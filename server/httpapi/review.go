package httpapi

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

// review serves POST /v1/admission/{hook}: 200 for an allow and for a deny.
func (s *Server) review(w http.ResponseWriter, r *http.Request) error {
	hook, err := hookOf(r)
	if err != nil {
		return err
	}
	var review admission.Review
	err = s.decodeBody(w, r, s.options.MaxBodyBytes, func(body []byte) (err error) {
		review, err = decode.Review(hook, body, s.options.MaxDepth)
		return err
	})
	if err != nil {
		return err
	}
	review.Caller, review.Trace = callerOf(r.Context()).Name, traceOf(r)
	decision, err := s.options.Reviewer.Review(r.Context(), review)
	if err != nil {
		return loggedError{err}
	}
	s.write(w, r, http.StatusOK, newAnswer(decision))
	return nil
}

// reviewBatch serves POST /v1/admission/{hook}/batch. Reviews of one batch run side by side; the answers keep
// their order.
func (s *Server) reviewBatch(w http.ResponseWriter, r *http.Request) error {
	hook, err := hookOf(r)
	if err != nil {
		return err
	}
	body, err := s.readBody(w, r, s.options.MaxBatchBytes)
	if err != nil {
		return err
	}
	reviews, err := decode.Batch(hook, body, s.options.MaxDepth)
	if err != nil {
		return err
	}
	answers := make([]any, len(reviews))
	var group errgroup.Group
	group.SetLimit(s.options.BatchParallel)
	for i, review := range reviews {
		review.Caller, review.Trace = callerOf(r.Context()).Name, traceOf(r)
		group.Go(func() error {
			answers[i] = s.reviewOne(r.Context(), review)
			return nil
		})
	}
	_ = group.Wait() // reviewOne turns every error into an answer
	if unknown := allUnknown(answers); unknown != nil {
		return unknown
	}
	s.write(w, r, http.StatusOK, batchAnswer{Decisions: answers})
	return nil
}

// reviewOne runs on a goroutine of its own, where a panic that is not caught ends the process.
func (s *Server) reviewOne(ctx context.Context, review admission.Review) (answered any) {
	defer func() {
		if cause := recover(); cause != nil {
			answered = failedAnswer{UID: review.UID, Error: newProblem(admission.AsError(s.panicked(ctx, review.Trace, cause)))}
		}
	}()
	decision, err := s.options.Reviewer.Review(ctx, review)
	if err != nil {
		return failedAnswer{UID: review.UID, Error: newProblem(admission.AsError(err))}
	}
	return newAnswer(decision)
}

// allUnknown makes a batch for a hook that does not exist the same error as a single review for it.
func allUnknown(answers []any) error {
	for _, a := range answers {
		failed, isFailed := a.(failedAnswer)
		if !isFailed || failed.Error.Code != admission.CodeUnknownHook {
			return nil
		}
	}
	return loggedError{&admission.Error{Code: admission.CodeUnknownHook, Detail: "no policy defines this hook"}}
}
