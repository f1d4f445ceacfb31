package admission_test

import (
	"crypto/sha256"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDigestIsOfWhatIsAsked(t *testing.T) {
	base := review(t, `{"workspace": `+withID(`"tier": 1, "agent_card": {"a": [1, 2]}`)+`}`)
	same := map[string]string{
		"another order": `{"workspace": {"agent_card": {"a": [1, 2]}, "tier": 1, "id": "` + workspaceID + `"}}`,
		"escapes":       `{"workspace": ` + withID(`"t\u0069er": 1, "agent_card": {"\u0061": [1, 2]}`) + `}`,
		"numbers":       `{"workspace": ` + withID(`"tier": 1.0, "agent_card": {"a": [10e-1, 0.2E+1]}`) + `}`,
		"white space":   "{\n\"workspace\" :\t" + `{"id":"` + workspaceID + `","tier":1,"agent_card":{"a":[1,2]} } }`,
		"a dry run":     `{"dry_run": true, "workspace": ` + withID(`"tier": 1, "agent_card": {"a": [1, 2]}`) + `}`,
		"a uid":         `{"uid": "r", "workspace": ` + withID(`"tier": 1, "agent_card": {"a": [1, 2]}`) + `}`,
		"the default":   `{"caller_proof": "token", "workspace": ` + withID(`"tier": 1, "agent_card": {"a": [1, 2]}`) + `}`,
	}
	for name, body := range same {
		require.Equal(t, base.Digest(), review(t, body).Digest(), name)
	}

	digests := [][32]byte{base.Digest()}
	for _, body := range []string{
		`{"caller_proof": "bootstrap", "workspace": ` + withID(`"tier": 1, "agent_card": {"a": [1, 2]}`) + `}`,
		envelope(withID(`"tier": 2, "agent_card": {"a": [1, 2]}`)),
		envelope(withID(`"tier": 1, "agent_card": {"a": [1, 2]}, "kind": "platform"`)),
		envelope(withID(`"tier": 1, "agent_card": {"a": [12]}`)),
		envelope(withID(`"tier": 1, "agent_card": {"a": [2, 1]}`)),
		envelope(withID(`"tier": 1, "agent_card": {"a": ["1 ", 2]}`)),
		envelope(withID(`"tier": 1, "agent_card": {"a": ["1", 2]}`)),
		envelope(withID(`"tier": 1`)),
	} {
		digests = append(digests, review(t, body).Digest())
	}
	heartbeat := base
	heartbeat.Hook = "heartbeat"
	digests = append(digests, heartbeat.Digest())

	for i, digest := range digests {
		require.False(t, slices.Contains(digests[i+1:], digest), i)
	}
	require.NotEqual(t, base.Digest(), [32]byte{})
	require.Equal(t, uuid.MustParse(workspaceID), base.WorkspaceID)
}

func TestDigestLeavesTheWorkspaceUnchanged(t *testing.T) {
	one := review(t, envelope(withID(`"tier":  1`)))
	before := string(one.Workspace)
	one.Digest()
	require.Equal(t, before, string(one.Workspace))
}

// digestOf is the digest of a review whose workspace has the value as a member.
func digestOf(t testing.TB, value string) [sha256.Size]byte {
	t.Helper()
	return review(t, envelope(withID(`"value": `+value))).Digest()
}

// examplesOfRFC8785 are the examples of its sections 3.2.2 and 3.2.3. One number that the RFC rounds is exact here.
var examplesOfRFC8785 = map[string]struct{ text, canonical string }{
	"primitives": {
		`{
			"numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
			"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
			"literals": [null, true, false]
		}`,
		`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
	},
	"order": {
		`{
			"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
			"\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
		}`,
		"{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\"," +
			"\"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}",
	},
}

// The library's canonical form is that of RFC 8785, and a request and its canonical form have one digest.
func TestDigestOfRFC8785Examples(t *testing.T) {
	for name, example := range examplesOfRFC8785 {
		canonical := jsontext.Value(example.text)
		require.NoError(t, canonical.Canonicalize())
		require.Equal(t, example.canonical, string(canonical), name)
		require.Equal(t, digestOf(t, example.text), digestOf(t, example.canonical), name)
	}
}

func TestDigestOfNumbersIsExact(t *testing.T) {
	for _, same := range [][]string{
		{"1", "1.0", "1e0", "10e-1", "0.1E+1", "1.000"},
		{"0", "-0", "0.0", "-0.00e5", "0E-7"},
		{"1e30", "1E+30", "1000000000000000000000000000000", "1.0e030"},
		{"0.002", "2e-3", "2E-03", "0.0020"},
		{"-120", "-1.2e2", "-120.0"},
	} {
		for _, spelling := range same {
			require.Equal(t, digestOf(t, same[0]), digestOf(t, spelling), spelling)
		}
	}
	var digests [][sha256.Size]byte
	for _, other := range []string{
		"9007199254740992", "9007199254740993", "333333333.33333329", "333333333.3333333", "0.1", "0.1000000000000000055511151231257827",
		"1", "-1", "10", "100", "0", `"1"`, "[1]", "5e-324", "4e-324", "1e308", "12e307",
	} {
		digests = append(digests, digestOf(t, other))
		require.Len(t, digests, 1+slices.Index(digests, digests[len(digests)-1]), "%s is another number", other)
	}
}

// Two numbers have one digest if and only if they are the same number.
func TestDigestOfNumbersIsEqualForEqualNumbers(t *testing.T) {
	number := rapid.StringMatching(`-?(0|10{0,2})(\.[01]{1,3})?([eE][+-]?[0-3])?`)
	equal := 0
	rapid.Check(t, func(rt *rapid.T) {
		one, other := number.Draw(rt, "one"), number.Draw(rt, "other")
		left, read := new(big.Rat).SetString(one)
		require.True(rt, read)
		right, read := new(big.Rat).SetString(other)
		require.True(rt, read)
		same := left.Cmp(right) == 0
		if same && one != other {
			equal++
		}
		require.Equal(rt, same, digestOf(t, one) == digestOf(t, other), "%s and %s", one, other)
	})
	require.Positive(t, equal)
}

// Two spellings of one body are the same request.
func TestDigestIgnoresSpelling(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		one, other := spelledTwice(rt, 3)
		require.Equal(rt, digestOf(t, one), digestOf(t, other), "%s and %s", one, other)
	})
}

// spelledTwice draws a value and spells it in two ways.
func spelledTwice(rt *rapid.T, depth int) (one, other string) {
	kinds := []string{"number", "text", "literal"}
	if depth > 0 {
		kinds = append(kinds, "object", "array")
	}
	switch rapid.SampledFrom(kinds).Draw(rt, "kind") {
	case "number":
		n := rapid.Int64().Draw(rt, "number") | 1 // 00 is no number
		return spellNumber(rt, n), spellNumber(rt, n)
	case "text":
		text := rapid.StringOf(rapid.RuneFrom([]rune("a{\"}[\\]1e:,é😀/\n \u0085"))).Draw(rt, "text")
		return spellText(rt, text), spellText(rt, text)
	case "literal":
		literal := rapid.SampledFrom([]string{"null", "true", "false"}).Draw(rt, "literal")
		return literal, literal
	case "array":
		var ones, others []string
		for range rapid.IntRange(0, 3).Draw(rt, "entries") {
			one, other = spelledTwice(rt, depth-1)
			ones, others = append(ones, one), append(others, other)
		}
		return "[" + strings.Join(ones, ", ") + "]", "[" + strings.Join(others, "\n,") + "]"
	default:
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "1", "\r", "é", "😀", "\ufb33", "", "\""}), 0, 4, rapid.ID).Draw(rt, "names")
		var ones, others []string
		for _, name := range names {
			one, other = spelledTwice(rt, depth-1)
			ones, others = append(ones, spellText(rt, name)+":"+one), append(others, spellText(rt, name)+" :\t"+other)
		}
		others = rapid.Permutation(others).Draw(rt, "order")
		return "{" + strings.Join(ones, ",") + "}", "{" + strings.Join(others, " , ") + "}"
	}
}

func spellNumber(rt *rapid.T, n int64) string {
	return fmt.Sprintf(rapid.SampledFrom([]string{"%d", "%d.0", "%d0e-1", "%d00E-02", "%d.00e0"}).Draw(rt, "spelling"), n)
}

// spellText escapes some of the characters, and those that it must.
func spellText(rt *rapid.T, text string) string {
	spelt := []byte{'"'}
	for _, r := range text {
		if r < ' ' || r == '"' || r == '\\' || rapid.Bool().Draw(rt, "escaped") {
			for _, unit := range utf16.Encode([]rune{r}) {
				spelt = fmt.Appendf(spelt, `\u%04x`, unit)
			}
			continue
		}
		spelt = utf8.AppendRune(spelt, r)
	}
	return string(append(spelt, '"'))
}

// Earlier versions made digests that depend on the order of members. A request that comes again byte for byte still has
// the digest that they recorded.
func TestHasDigestRecognisesEarlierVersions(t *testing.T) {
	body := withID(`"url": "https://a.example", "tier": 1.0`)
	compact := jsontext.Value(body)
	require.NoError(t, compact.Compact())
	earlier := sha256.Sum256(fmt.Appendf(nil, "8:register5:token%d:%s", len(compact), compact))
	require.True(t, review(t, envelope(body)).HasDigest(earlier))
	require.True(t, review(t, envelope(" \n"+body)).HasDigest(earlier))
	for _, other := range []string{withID(`"tier": 1.0, "url": "https://a.example"`), withID(`"url": "https://a.example", "tier": 1`), withID("")} {
		require.False(t, review(t, envelope(other)).HasDigest(earlier), other)
	}
}
