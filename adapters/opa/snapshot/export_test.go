package snapshot

import (
	"context"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// What the tests look into.
const MaxSourceFiles = maxSourceFiles

// AsWritten decides as whoever watches an evaluation does.
func (s *Snapshot) AsWritten(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.EvaluateWatched(ctx, in, at)
}

// DecideByOPA decides without the fast path.
func (s *Snapshot) DecideByOPA(ctx context.Context, in admission.Input, at time.Time) (admission.Verdict, error) {
	return s.reference(ctx, in, at)
}

// Mislead makes the fast path of every hook tell that nothing holds.
func (s *Snapshot) Mislead() {
	for _, hook := range s.hooks {
		hook.teller = silent(len(hook.sets))
	}
}

// silent is a fast path that is wrong whenever a rule fires. It tells no entries of so many sets.
type silent int

func (n silent) Entries(*admission.Input) ([][]*ast.Term, bool) { return make([][]*ast.Term, n), true }

// Decided says whether the fast path tells what the policies say of an input.
func (s *Snapshot) Decided(in admission.Input) bool {
	_, told := s.hooks[in.Hook].byFastPath(&in)
	return told
}

// Undecided are the places of the rules that OPA is asked for.
func (s *Snapshot) Undecided(in admission.Input) []string {
	var places []string
	for _, rule := range s.hooks[in.Hook].fast.Untold(&in) {
		places = append(places, rule.Location.String())
	}
	return places
}

// NewUnchecked is a snapshot of policies that may name data that is not there, and weaken the platform agent's rule.
func NewUnchecked(ctx context.Context, source Source, schema []byte) (*Snapshot, error) {
	contents, err := source.Read()
	if err != nil {
		return nil, err
	}
	return contents.Unchecked(ctx, schema)
}
