package fastpath

import (
	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/server/admission"
)

// Seen is what the view of an input says is at ref; nil when nothing is.
func (e *Evaluator) Seen(in admission.Input, ref ast.Ref) (found ast.Value, known bool) {
	view := e.views.Get().(*view)
	defer view.close()
	if !view.open(&in) {
		return nil, false
	}
	found, err := view.Resolve(ref)
	return found, err == nil
}
