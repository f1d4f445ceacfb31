package httpapi

import (
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
	status, body := s.relayed(w, r)
	s.respond.JSON(w, r, status, body)
}

func (s *Server) relayed(w http.ResponseWriter, r *http.Request) (int, relayAnswer) {
	decision, err := s.reviewPayload(w, r)
	if err != nil {
		return s.relayRefusal(w, r, err)
	}
	status := newAnswerStatus(decision.Answered())
	if status == nil {
		return http.StatusOK, relayAnswer{Status: "admitted"}
	}
	return status.Code, relayAnswer{Error: status.Message, Code: status.Reason}
}

// writeRelayError is writeProblem in the registry's own words.
func (s *Server) writeRelayError(w http.ResponseWriter, r *http.Request, err error) {
	status, body := s.relayRefusal(w, r, err)
	s.respond.JSON(w, r, status, body)
}

func (s *Server) relayRefusal(w http.ResponseWriter, r *http.Request, err error) (int, relayAnswer) {
	coded := s.respond.Refused(r, err)
	respond.SetErrorHeaders(w.Header(), coded.Code)
	return relayError(coded)
}

func (s *Server) reviewPayload(w http.ResponseWriter, r *http.Request) (admission.Decision, error) {
	body, err := s.respond.ReadBody(w, r, s.respond.Limits.Body)
	if err != nil {
		return admission.Decision{}, err
	}
	// A raw payload does not say that anybody checked a token. Taken for unproven, it can be denied and
	// cannot mark a workspace by claiming to be it.
	proof := admission.CallerProof(strings.Join(r.Header.Values(proofHeader), ", ")) // of two, neither counts
	if proof == "" {
		proof = admission.Bootstrap
	}
	review, err := decode.Payload("register", body, proof, s.respond.Limits.Depth)
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
	message := p.Detail
	if message == "" {
		message = p.Title
	}
	return p.Status, relayAnswer{Error: message, Code: string(p.Code)}
}
