package httpapi

import (
	"net/http"

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
	review, err := respond.Decode(s.respond, w, r, s.respond.Limits.Body, func(body []byte, maxDepth int) (admission.Review, error) {
		return decode.Review(hook, body, maxDepth)
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
	reviews, err := respond.Decode(s.respond, w, r, s.respond.Limits.Batch, func(body []byte, maxDepth int) ([]admission.Review, error) {
		return decode.Batch(hook, body, maxDepth)
	})
	if err != nil {
		return err
	}
	uid := func(i int) string { return reviews[i].UID }
	answers := s.answerBatch(r, len(reviews), uid, func(i int) (any, error) {
		review := reviews[i]
		review.Caller, review.Trace = auth.CallerOf(r.Context()).Name, respond.Trace(r)
		decision, err := s.options.Reviewer.Review(r.Context(), review)
		return newAnswer(decision), err
	})
	if unknown := allUnknown(answers); unknown != nil {
		return unknown
	}
	s.respond.JSON(w, r, http.StatusOK, batchAnswer{Decisions: answers})
	return nil
}

// allUnknown makes a batch for a hook that does not exist the same error as a single review for it.
func allUnknown(answers []any) error {
	for _, a := range answers {
		failed, isFailed := a.(failedAnswer)
		if !isFailed || failed.Error.Code != admission.CodeUnknownHook {
			return nil
		}
	}
	return respond.Logged(errUnknownHook())
}
