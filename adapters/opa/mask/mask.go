// Package mask decides how much of an input the record of its decision keeps. It cuts the agent's card down to what policies
// read. It erases or replaces the places that data.mask and the rule mask of package system.log name.
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

// New reads data.mask, and compiles and rehearses the mask rule. read are the places of the input that each hook reads: these
// parts of the agent's card are kept.
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

// Record gives the JSON of an input as the record of its decision may keep it: without the parts of the agent's card that are
// not kept, and with the masks applied. Without masks nothing is evaluated, and only the card is parsed.
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
