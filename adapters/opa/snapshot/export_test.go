package snapshot

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// MaxSourceFiles is for tests.
const MaxSourceFiles = maxSourceFiles

// Mislead makes the fast path of every hook say that no rule holds.
func (s *Snapshot) Mislead() {
	for _, hook := range s.hooks {
		hook.teller = silent(len(hook.sets))
	}
}

// silent is a fast path that is wrong whenever a rule fires. It gives this many empty sets.
type silent int

func (n silent) Entries(*admission.Input) ([][]*ast.Term, bool) { return make([][]*ast.Term, n), true }
