package admission

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/molecule-ai/gatehouse/internal/rawjson"
)

// Digest identifies what a review asks: two requests with one uid and one digest are the same request sent twice. The
// order of members, white space, escapes and the spelling of numbers do not count.
func (r Review) Digest() [sha256.Size]byte {
	workspace := r.Workspace.Clone()
	// As in RFC 8785, but for numbers: there they are doubles, and 9007199254740993 is 9007199254740992. Policies see
	// every digit, so these are two requests.
	err := workspace.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	if err != nil {
		return r.digestOf(r.Workspace)
	}
	return r.digestOf(exactNumbers(workspace))
}

// HasDigest says whether digest is that of r, now or as earlier versions made it, whose records are there for as long as
// decisions are kept: they minded everything but white space.
func (r Review) HasDigest(digest [sha256.Size]byte) bool {
	if digest == r.Digest() {
		return true
	}
	workspace := r.Workspace.Clone()
	err := workspace.Compact()
	return err == nil && digest == r.digestOf(workspace)
}

func (r Review) digestOf(workspace jsontext.Value) [sha256.Size]byte {
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(r.Hook), []byte(r.CallerProof), workspace} {
		_, _ = fmt.Fprintf(hash, "%d:", len(part))
		_, _ = hash.Write(part)
	}
	return [sha256.Size]byte(hash.Sum(nil))
}

// exactNumbers spells every number of a valid value in one way.
func exactNumbers(value jsontext.Value) jsontext.Value {
	spelt := make(jsontext.Value, 0, len(value))
	for i := 0; i < len(value); {
		end := i + 1
		switch c := value[i]; {
		case c == '"':
			end = rawjson.EndOfString(value, i)
			spelt = append(spelt, value[i:end]...)
		case c == '-' || (c >= '0' && c <= '9'):
			end = rawjson.EndOfValue(value, i)
			spelt = appendExact(spelt, value[i:end])
		default:
			spelt = append(spelt, c)
		}
		i = end
	}
	return spelt
}

// appendExact appends a number as its digits, without zeros at either end, and an exponent of ten.
func appendExact(to, number []byte) []byte {
	mantissa, power, _ := bytes.Cut(bytes.ToLower(number), []byte("e"))
	exponent, _ := strconv.Atoi(string(power)) // 0 for none; scan has bounded it
	negative := mantissa[0] == '-'
	whole, fraction, _ := bytes.Cut(bytes.TrimPrefix(mantissa, []byte("-")), []byte("."))
	digits := bytes.TrimLeft(append(bytes.Clone(whole), fraction...), "0")
	exponent -= len(fraction)
	significant := bytes.TrimRight(digits, "0")
	exponent += len(digits) - len(significant)
	if len(significant) == 0 {
		return append(to, '0')
	}
	if negative {
		to = append(to, '-')
	}
	to = append(to, significant...)
	return strconv.AppendInt(append(to, 'e'), int64(exponent), 10)
}
