package mask

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/adapters/opa/check"
	"github.com/molecule-ai/gatehouse/server/admission"
)

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

// cut appends the masked card. If policies read a name or a url that is no text, the card stays whole and the redaction is
// empty.
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

// span is a part of a text. The zero span is none.
type span struct{ start, end int }

func (s span) of(text jsontext.Value) jsontext.Value { return text[s.start:s.end] }

// members finds the values of names in an object. A value that is no object has none. A name that is there twice is an error,
// because only one of the two would be masked.
func members(value jsontext.Value, names ...string) ([]span, error) {
	found := make([]span, len(names))
	if value.Kind() != '{' || mentionsNone(value, names) {
		return found, nil
	}
	decoder := jsontext.NewDecoder(bytes.NewBuffer(value), jsontext.AllowDuplicateNames(true))
	_, err := decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	for decoder.PeekKind() != '}' {
		quoted, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		which := slices.IndexFunc(names, func(name string) bool { return isName(quoted, name) })
		member, err := decoder.ReadValue()
		if err != nil {
			return nil, err
		}
		if which < 0 {
			continue
		}
		if found[which] != (span{}) {
			return nil, fmt.Errorf("%s is there twice", names[which])
		}
		end := int(decoder.InputOffset())
		found[which] = span{end - len(member), end}
	}
	return found, nil
}

// mentionsNone is a quick test: if it says yes, no name is anywhere in the value.
func mentionsNone(value jsontext.Value, names []string) bool {
	return bytes.IndexByte(value, '\\') < 0 && !slices.ContainsFunc(names, func(name string) bool {
		return bytes.Contains(value, []byte(name))
	})
}

// isName says whether a JSON string, however it is spelt, is a name.
func isName(quoted jsontext.Value, name string) bool {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return string(quoted[1:len(quoted)-1]) == name
	}
	text, err := jsontext.AppendUnquote(nil, quoted)
	return err == nil && string(text) == name
}
