package httpapi

import (
	"context"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// review serves POST /v1/admission/{hook}: 200 for an allow and for a deny.
func (s *Server) review(w http.ResponseWriter, r *http.Request) error {
	hook, err := hookOf(r)
	if err != nil {
		return err
	}
	var review admission.Review
	err = s.respond.DecodeBody(w, r, s.respond.Limits.Body, func(body []byte) (err error) {
		review, err = decode.Review(hook, body, s.respond.Limits.Depth)
		return err
	})
	if err != nil {
		return err
	}
	review.Caller, review.Trace = auth.CallerOf(r.Context()).Name, respond.Trace(r)
	decision, err := s.options.Reviewer.Review(r.Context(), review)
	if err != nil {
		return respond.Logged(err)
	}
	s.respond.JSON(w, r, http.StatusOK, newAnswer(decision))
	return nil
}

// reviewBatch serves POST /v1/admission/{hook}/batch. Reviews of one batch run side by side; the answers keep
// their order.
func (s *Server) reviewBatch(w http.ResponseWriter, r *http.Request) error {
	hook, err := hookOf(r)
	if err != nil {
		return err
	}
	body, err := s.respond.ReadBody(w, r, s.respond.Limits.Batch)
	if err != nil {
		return err
	}
	reviews, err := decode.Batch(hook, body, s.respond.Limits.Depth)
	if err != nil {
		return err
	}
	answers := make([]any, len(reviews))
	var group errgroup.Group
	group.SetLimit(s.options.BatchParallel)
	for i, review := range reviews {
		review.Caller, review.Trace = auth.CallerOf(r.Context()).Name, respond.Trace(r)
		group.Go(func() error {
			answers[i] = s.reviewOne(r.Context(), review)
			return nil
		})
	}
	_ = group.Wait() // reviewOne turns every error into an answer
	if unknown := allUnknown(answers); unknown != nil {
		return unknown
	}
	s.respond.JSON(w, r, http.StatusOK, batchAnswer{Decisions: answers})
	return nil
}

// reviewOne runs on a goroutine of its own, where a panic that is not caught ends the process.
func (s *Server) reviewOne(ctx context.Context, review admission.Review) (answered any) {
	defer func() {
		if cause := recover(); cause != nil {
			answered = failedAnswer{UID: review.UID, Error: respond.NewProblem(admission.AsError(s.respond.Panicked(ctx, review.Trace, cause)))}
		}
	}()
	decision, err := s.options.Reviewer.Review(ctx, review)
	if err != nil {
		return failedAnswer{UID: review.UID, Error: respond.NewProblem(admission.AsError(err))}
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
	return respond.Logged(&admission.Error{Code: admission.CodeUnknownHook, Detail: "no policy defines this hook"})
}
