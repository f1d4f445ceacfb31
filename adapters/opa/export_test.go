package opa

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/adapters/opa/regoval"
	"github.com/molecule-ai/gatehouse/server/admission"
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
	return s.reference(ctx, in, at)
}

// Mislead makes the fast path of every hook tell that nothing holds.
func (s *Snapshot) Mislead() {
	for _, hook := range s.live {
		hook.teller = silent(len(hook.sets))
	}
}

// RunMisled runs a case on the policies of source, with a fast path that is wrong.
func (c Case) RunMisled(ctx context.Context, source Source, schema []byte) (CaseResult, error) {
	snapshot, err := NewSnapshot(ctx, source, schema)
	if err != nil {
		return CaseResult{}, err
	}
	snapshot.Mislead()
	return c.run(ctx, snapshot, nil), nil
}

// silent is a fast path that is wrong whenever a rule fires. It tells no entries of so many sets.
type silent int

func (n silent) Entries(*admission.Input) ([][]*ast.Term, bool) { return make([][]*ast.Term, n), true }

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

// NewUncheckedSnapshot is a snapshot of policies that may name data that is not there, and weaken the platform agent's rule.
func NewUncheckedSnapshot(ctx context.Context, source Source, schema []byte) (*Snapshot, error) {
	loaded, err := source.load(regoval.Capabilities())
	if err != nil {
		return nil, err
	}
	return newSnapshot(ctx, source.Name, loaded, schema)
}
