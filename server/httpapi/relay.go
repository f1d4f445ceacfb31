package httpapi

import (
	"cmp"
	"net/http"
	"strings"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
	"github.com/molecule-ai/gatehouse/server/httpapi/auth"
	"github.com/molecule-ai/gatehouse/server/httpapi/respond"
)

// proofHeader says how the caller of the relay form proved itself to the registry.
const proofHeader = "Gatehouse-Caller-Proof"

// relayAnswer is in the registry's own words.
type relayAnswer struct {
	Status string `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	Code   string `json:"code,omitempty"`
}

// relay serves POST /registry/register: the raw register payload in, one status code out.
func (s *Server) relay(w http.ResponseWriter, r *http.Request) {
	decision, err := s.reviewPayload(w, r)
	if err != nil {
		s.writeRelayError(w, r, err)
		return
	}
	if status := newAnswerStatus(decision.Answered()); status != nil {
		s.respond.JSON(w, r, status.Code, relayAnswer{Error: status.Message, Code: status.Reason})
		return
	}
	s.respond.JSON(w, r, http.StatusOK, relayAnswer{Status: "admitted"})
}

// writeRelayError answers an error in the registry's own words.
func (s *Server) writeRelayError(w http.ResponseWriter, r *http.Request, err error) {
	coded := s.respond.Refused(r, err)
	respond.SetErrorHeaders(w.Header(), coded.Code)
	status, body := relayError(coded)
	s.respond.JSON(w, r, status, body)
}

func (s *Server) reviewPayload(w http.ResponseWriter, r *http.Request) (admission.Decision, error) {
	// A raw payload does not say that anybody checked a token. Taken for unproven, it can be denied and
	// cannot mark a workspace by claiming to be it.
	proof := admission.CallerProof(strings.Join(r.Header.Values(proofHeader), ", ")) // of two, neither counts
	if proof == "" {
		proof = admission.Bootstrap
	}
	review, err := respond.Decode(s.respond, w, r, s.respond.Limits.Body, func(body []byte, maxDepth int) (admission.Review, error) {
		return decode.Payload("register", body, proof, maxDepth)
	})
	if err != nil {
		return admission.Decision{}, err
	}
	review.Caller, review.Trace = auth.CallerOf(r.Context()).Name, respond.Trace(r)
	decision, err := s.options.Reviewer.Review(r.Context(), review)
	if err != nil {
		return admission.Decision{}, respond.Logged(err)
	}
	return decision, nil
}

// relayError is the registry's own answer to whatever went wrong inside; what the caller can mend is named.
func relayError(err *admission.Error) (int, relayAnswer) {
	p := respond.NewProblem(err)
	if p.Status >= http.StatusInternalServerError {
		return http.StatusInternalServerError, relayAnswer{Error: "registration failed"}
	}
	return p.Status, relayAnswer{Error: cmp.Or(p.Detail, p.Title), Code: string(p.Code)}
}
