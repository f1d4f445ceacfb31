// Package mask decides what of an input its decision's record keeps: the agent's card is cut down to what policies read, and
// what data.mask and the rule mask of package system.log name is erased or replaced.
package mask

import (
	"context"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// Mask says how records keep inputs.
type Mask struct {
	erase []maskOp   // data.mask
	rules *maskRules // the mask rule of package system.log; nil: there is none
	card  cardMask
}

// New reads data.mask, and compiles and rehearses the mask rule. read are the places of the input that each hook reads: of
// the agent's card, that much is kept.
func New(
	ctx context.Context, modules map[string]*ast.Module, data map[string]any, names *check.Data, read map[string]check.Reads,
) (Mask, error) {
	erase, err := readMask(data)
	if err != nil {
		return Mask{}, err
	}
	rules, err := newMaskRules(ctx, modules, data, names)
	return Mask{erase: erase, rules: rules, card: newCardMask(read)}, err
}

// HasRule says whether policies have a mask rule.
func (m Mask) HasRule() bool { return m.rules != nil }

// Record gives an input as the record of its decision may keep it: its JSON, but for the agent's card and what data.mask
// and the mask rule name. On the way without either nothing is evaluated or parsed.
func (m Mask) Record(ctx context.Context, d admission.Decision, in admission.Input) (kept admission.RecordedInput, err error) {
	ops := m.erase
	if m.rules != nil {
		found, err := m.rules.evaluate(ctx, d, in)
		if err != nil {
			return kept, err
		}
		ops = slices.Concat(ops, found)
	}
	in.Request, kept.Redaction, err = m.card.apply(in.Request)
	if err != nil {
		return kept, err
	}
	kept.JSON, err = in.JSON()
	if err != nil {
		return kept, err
	}
	kept.JSON, err = applyAll(ops, kept.JSON, &kept.Redaction)
	return kept, err
}
