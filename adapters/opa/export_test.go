package opa

import (
	"context"
	"time"

	"gatehouse/server/admission"
)

// What the tests look into.
const MaxSourceFiles = maxSourceFiles

func (c Case) Data() map[string]any { return c.data }

var Merge = merge

// AsWritten decides as whoever watches an evaluation does.
func (s *Snapshot) AsWritten(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.evaluateWatched(ctx, in, at)
}

// ByOPA decides without the fast path.
func (s *Snapshot) ByOPA(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.evaluateByOPA(ctx, in, at)
}

// Decided says whether the fast path tells what the policies say of an input.
func (s *Snapshot) Decided(in admission.Input) bool {
	_, told := s.live[in.Hook].byFastPath(&in)
	return told
}

// Undecided are the places of the rules that OPA is asked for.
func (s *Snapshot) Undecided(in admission.Input) []string {
	var places []string
	for _, rule := range s.live[in.Hook].fast.Untold(&in) {
		places = append(places, rule.Location.String())
	}
	return places
}
