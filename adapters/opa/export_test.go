package opa

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"gatehouse/server/admission"
)

// What the tests look into.
var InputValue = inputValue

const MaxSourceFiles = maxSourceFiles

func (c Case) Data() map[string]any { return c.data }

var Merge = merge

// AsWritten decides as whoever watches an evaluation does.
func (s *Snapshot) AsWritten(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.evaluateWatched(ctx, in, at)
}

// Decided says whether guards tell what the policies say of an input, without the engine.
func (s *Snapshot) Decided(in admission.Input) bool {
	_, decided := s.live[in.Hook].decide(&in)
	return decided
}

// Undecided are the places of the rules that the engine is asked for.
func (s *Snapshot) Undecided(in admission.Input) []string {
	var places []string
	for _, rule := range s.live[in.Hook].undecided(&in) {
		places = append(places, rule.Location.String())
	}
	return places
}

// Seen is what the view of an input says is at ref; nil when nothing is.
func (s *Snapshot) Seen(in admission.Input, ref ast.Ref) (found ast.Value, known bool) {
	view := s.live[in.Hook].views.Get().(*view)
	defer view.close()
	if !view.open(&in) {
		return nil, false
	}
	found, err := view.Resolve(ref)
	return found, err == nil
}
