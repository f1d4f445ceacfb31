// Package mask decides what of an input its decision's record keeps: the agent's card is cut down to what policies read, and
// what data.mask and the rule mask of package system.log name is erased or replaced.
package mask

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
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
	for _, op := range ops {
		if err == nil {
			kept.JSON, err = op.apply(kept.JSON, &kept.Redaction)
		}
	}
	return kept, err
}

const cardMember = "agent_card"

// cardMask cuts the agent's card of a request down to its name, its url and a digest.
type cardMask struct {
	whole     bool // policies read more of it than its name and url
	name, url bool // they read it
}

func newCardMask(read map[string]check.Reads) cardMask {
	var mask cardMask
	for _, pointers := range read {
		for _, pointer := range pointers {
			switch {
			case pointer == admission.NamePointer:
				mask.name = true
			case pointer == admission.URLPointer:
				mask.url = true
			case admission.Overlaps(pointer, admission.CardPointer):
				mask.whole = true
			}
		}
	}
	return mask
}

func (m cardMask) apply(request jsontext.Value) (jsontext.Value, admission.Redaction, error) {
	if m.whole {
		return request, admission.Redaction{}, nil
	}
	found, err := members(request, cardMember)
	if err != nil || found[0] == (span{}) {
		return request, admission.Redaction{}, err
	}
	card := found[0].of(request)
	if card.Kind() == 'n' {
		return request, admission.Redaction{}, nil
	}
	masked := append(make(jsontext.Value, 0, len(request)+maxDigest), request[:found[0].start]...)
	masked, redaction, err := m.cut(masked, card)
	if err != nil || redaction.Empty() {
		return request, redaction, err
	}
	return append(masked, request[found[0].end:]...), redaction, nil
}

// maxDigest is by how much a masked card can be longer than the card.
const maxDigest = len(`"digest":"sha256:"`) + 2*sha256.Size

// cut appends the masked card. Where a name or a url that policies read is no text, the card stays whole: nothing is
// redacted.
func (m cardMask) cut(to, card jsontext.Value) (jsontext.Value, admission.Redaction, error) {
	found, err := members(card, "name", "url")
	if err != nil {
		return nil, admission.Redaction{}, err
	}
	redaction := admission.Redaction{Masked: []string{admission.CardPointer}}
	to = append(to, '{')
	for i, kept := range []struct {
		name, pointer string
		read          bool
	}{{`"name":`, admission.NamePointer, m.name}, {`"url":`, admission.URLPointer, m.url}} {
		value := found[i].of(card)
		switch {
		case len(value) == 0:
		case value.Kind() == '"':
			to = append(append(append(to, kept.name...), value...), ',')
		case kept.read:
			return nil, admission.Redaction{}, nil
		default:
			redaction.Erased = append(redaction.Erased, kept.pointer)
		}
	}
	digest := sha256.Sum256(card)
	to = append(to, `"digest":"sha256:`...)
	to = hex.AppendEncode(to, digest[:])
	return append(to, `"}`...), redaction, nil
}
