package yamlfile_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/internal/yamlfile"
)

func TestSecondDocumentIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\n---\na: 2\n":         "f.yaml:2:1: a second document begins here",
		"---\na: 1\n---\nb: 2\n":    "f.yaml:3:1: a second document begins here",
		"a: 1\n---\n":               "f.yaml:2:1: a second document begins here",
		"a: 1\n...\nb: 2\n":         "f.yaml:3:1: a second document begins here",
		"a: 1\n---\nb: [\n":         "f.yaml:",
		"  a:\nb: 1\n":              "f.yaml:2:1: did not find expected <document start>",
		"a: 1\n--- {b: 2}\n--- 3\n": "f.yaml:2:1: a second document begins here",
	} {
		_, err := yamlfile.Value("f.yaml", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
	for _, text := range []string{"---\na: 1\n", "# comment\n---\na: 1\n...\n"} {
		got, err := yamlfile.Value("f.yaml", []byte(text))
		require.NoError(t, err, text)
		require.Equal(t, map[string]any{"a": json.Number("1")}, got, text)
	}
}

func TestRepeatedKeyIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"enforcement: {A: deny}\nmask: []\nenforcement: {}\n": `f.yaml:3:1: "enforcement" is there twice`,
		"a: {b: 1, c: 2, b: 3}\n":                             `f.yaml:1:17: "b" is there twice`,
		"- x: 1\n  \"x\": 2\n":                                `f.yaml:2:3: "x" is there twice`,
		"a:\n  - b:\n      c: 1\n      'c': 1\n":              `f.yaml:4:7: "c" is there twice`,
		"b: &b {x: 1}\na:\n  <<: *b\n  x: 2\n":                "f.yaml:3:3: merge keys (<<) are not taken",
	} {
		_, err := yamlfile.Value("f.yaml", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
	_, err := yamlfile.Value("f.json", []byte("{\"a\": 1,\n \"b\": {\"c\": 1, \"\\u0063\": 2}}"))
	require.EqualError(t, err, `f.json:2:16: "c" is there twice`)
}

// What YAML 1.1 reads as something else than YAML 1.2 must be quoted.
func TestWordsThatMeanTwoThingsAreRefused(t *testing.T) {
	words := strings.Fields(`y Y yes Yes YES n N no No NO on On ON off Off OFF
		0123 -0123 00 08 09.5 0o17 0O17 -0o17 0b101 1_000 1_000.5 0x_1F -0x1F +0x1F 1:30 1:30:45.5 -1:30 08:30 190:20:30
		.inf -.inf +.INF .nan .NaN << =
		18446744073709551616 0.12345678901234567890 1e400 1e-400 123456789012345678901234567890 0x1ffffffffffffffff`)
	for _, word := range words {
		for _, form := range []string{"a: %s\n", "a: [%s]\n", "{a: %s}\n", "- %s\n", "%s: a\n", "? %s\n: a\n"} {
			text := fmt.Sprintf(form, word)
			_, err := yamlfile.Value("f.yaml", []byte(text))
			require.ErrorContains(t, err, "quote", "%s", text)
			require.Regexp(t, `^f.yaml:1:\d+: `, err.Error())
		}
		for _, form := range []string{"a: '%s'\n", "a: \"%s\"\n", "a: |-\n  %s\n", "a: >-\n  %s\n"} {
			got, err := yamlfile.Value("f.yaml", []byte(fmt.Sprintf(form, word)))
			require.NoError(t, err)
			require.Equal(t, map[string]any{"a": word}, got)
		}
	}
}

func TestPlainWordsOfYAML12(t *testing.T) {
	for word, want := range map[string]any{
		"true": true, "True": true, "TRUE": true, "false": false, "null": nil, "~": nil, "": nil,
		"0": json.Number("0"), "-7": json.Number("-7"), "+7": json.Number("7"), "1.50": json.Number("1.5"),
		"1e3": json.Number("1000"), ".5": json.Number("0.5"), "5.": json.Number("5"), "0x1F": json.Number("31"), "0xff": json.Number("255"),
		"9223372036854775807": json.Number("9223372036854775807"), "18446744073709551615": json.Number("18446744073709551615"),
		"0.1": json.Number("0.1"), "100000000000000000000": json.Number("100000000000000000000"),
		"tRUE": "tRUE", "yEs": "yEs", "2026-01-02": "2026-01-02", "2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z", "1.2.3": "1.2.3", "10.0.0.0/8": "10.0.0.0/8",
		"::1": "::1", "1s": "1s", "example.com:8080": "example.com:8080", "_1": "_1", "-": []any{nil}, "0x": "0x", "1e": "1e",
	} {
		got, err := yamlfile.Value("f.yaml", []byte("a:\n  "+word+"\n"))
		require.NoError(t, err, word)
		require.Equal(t, map[string]any{"a": want}, got, word)
		opa, err := opaReads("data.yaml", []byte("a:\n  "+word+"\n"))
		require.NoError(t, err, word)
		requireSame(t, opa, got, word)
	}
}

func TestUnplainFileIsRefusedWithItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "f.yaml:1:1: the file is empty",
		" \n\n":                  "f.yaml:1:1: the file is empty",
		"# nothing\n":            "f.yaml:1:1: the file is empty",
		"---\n":                  "",
		"\xef\xbb\xbfa: 1\n":     "f.yaml:1:1: the file begins with a byte order mark",
		"\xff\xfea\x00":          "f.yaml:1:1: the file is UTF-16",
		"a: 1\nb: é\xff\n":       "f.yaml:2:5: the file is not UTF-8",
		"a:\n\tb: 1\n":           "f.yaml:2:1: a tab",
		"a:\n  - b\n\t- c\n":     "f.yaml:3:",
		"a: \x00\n":              "f.yaml:1:4: a control character",
		"a: [1, 2\nb: 3\n":       "f.yaml:2:",
		"%YAML 1.2\n---\na: 1\n": "f.yaml:1:1: a %YAML line is not taken",
		"a: *hunter2\n":          "f.yaml:1:4: an alias without its anchor: quote a text that begins with *",
		"a: !!binary aGk=\n":     "f.yaml:1:4: tags (!…) are not taken",
		"a: !!str 12\n":          "f.yaml:1:4: tags (!…) are not taken",
		"1: a\n":                 "f.yaml:1:1: a key must be a text: quote it",
		"null: a\n":              "f.yaml:1:1: a key must be a text: quote it",
		"[1, 2]: a\n":            "f.yaml:1:1: a key must be a text",
		"a: &x {b: *x}\n":        "f.yaml:1:11: the alias stands for something that holds it",
		"{a:,b}\n":               "f.yaml:1:2: readers of YAML disagree",
	} {
		got, err := yamlfile.Value("f.yaml", []byte(text))
		if want == "" {
			require.NoError(t, err, text)
			require.Nil(t, got)
			continue
		}
		require.ErrorContains(t, err, want, "%q", text)
	}
	_, err := yamlfile.Value("f.yaml", []byte("# nothing\n"))
	require.ErrorIs(t, err, yamlfile.ErrEmpty)
}

func TestJSONIsReadAsJSON(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1} {"b": 2}`: "f.json:1:9: there is something after the JSON value",
		`{"a": hunter2}`:    "f.json:1:7: this is no JSON",
		"{\"a\":\n [1, 2":   "f.json:2:7: the JSON ends too early",
		`{a: 1}`:            "f.json:1:2: this is no JSON",
		"":                  "f.json:1:1: the file is empty",
		"\xef\xbb\xbf{}":    "f.json:1:1: the file begins with a byte order mark",
		"{\"a\": \"\xff\"}": "f.json:1:8: the file is not UTF-8",
		`{"a": "\ud800"}`:   "f.json:1:8: this is no JSON",
		`{"a": 0123}`:       "f.json:1:8: this is no JSON",
	} {
		_, err := yamlfile.Value("f.json", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
	got, err := yamlfile.Value("f.JSON", []byte(`{"yes": "no", "n": 123456789012345678901234567890, "l": [null, true, "\ud83d\ude00"]}`))
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"yes": "no", "n": json.Number("123456789012345678901234567890"), "l": []any{nil, true, "😀"},
	}, got)
}

func TestAliasesAreTakenUpToABound(t *testing.T) {
	got, err := yamlfile.Value("f.yaml", []byte("a: &x [1, 2]\nb: *x\nc: {d: *x}\n"))
	require.NoError(t, err)
	list := []any{json.Number("1"), json.Number("2")}
	require.Equal(t, map[string]any{"a": list, "b": list, "c": map[string]any{"d": list}}, got)

	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	_, err = yamlfile.Value("f.yaml", []byte(bomb.String()))
	require.ErrorContains(t, err, "aliases stand for more than 100000 values")
	_, err = yamlfile.Value("f.yaml", []byte(strings.Repeat("[", 20_000)))
	require.ErrorContains(t, err, "depth")
}

type settings struct {
	Name   string `json:"name"`
	Number int    `json:"number"`
	List   []struct {
		Switch bool `json:"switch"`
	} `json:"list"`
	Any map[string]any `json:"any"`
}

func TestDecodeRefusesUnknownNamesAndWrongKinds(t *testing.T) {
	for text, want := range map[string]string{
		"name: a\nnumbr: 1\n": `f.yaml:2:1: unknown name "numbr", did you mean "number"?`,
		"Name: a\n":           `f.yaml:1:1: unknown name "Name", did you mean "name"?`,
		"list:\n  - switch: true\n  - swich: true\n": `f.yaml:3:5: unknown name "swich", did you mean "switch"?`,
		"else: 1\n":                   `f.yaml:1:1: unknown name; known are any, list, name, number`,
		"number: hunter2\n":           `f.yaml:1:1: "number": want a whole number`,
		"number: 1.5\n":               `f.yaml:1:1: "number": want a whole number`,
		"list: hunter2\n":             `f.yaml:1:1: "list": want a list`,
		"list: [{switch: hunter2}]\n": `f.yaml:1:9: "switch": want true or false`,
		"name: {hunter2: 1}\n":        `f.yaml:1:1: "name": want a text`,
		"- hunter2\n":                 "f.yaml:1:1: the file does not hold what it should",
		"hunter2\n":                   "f.yaml:1:1: the file does not hold what it should",
	} {
		var into settings
		err := yamlfile.Decode("f.yaml", []byte(text), &into)
		require.EqualError(t, err, want, text)
	}
	for name, text := range map[string]string{
		"f.yaml": "name: a\nnumber: 1\nlist: [{switch: true}]\nany: {yes: 'no'}\n",
		"f.json": `{"name": "a", "number": 1, "list": [{"switch": true}], "any": {"yes": "no"}}`,
	} {
		var into settings
		err := yamlfile.Decode(name, []byte(strings.ReplaceAll(text, "yes:", "'yes':")), &into)
		require.NoError(t, err)
		require.True(t, into.List[0].Switch)
		require.Equal(t, "no", into.Any["yes"])
	}
	err := yamlfile.Decode("f.json", []byte("{\"list\": [\n  {\"switch\": true},\n  {\"switsh\": true}]}"), new(settings))
	require.EqualError(t, err, `f.json:3:4: unknown name "switsh", did you mean "switch"?`)
}

// Whatever is taken is what OPA's loader reads, and JSON that is taken as YAML is the same JSON.
func FuzzWhatIsTakenIsWhatOPAReads(f *testing.F) {
	for _, text := range []string{
		"a: 1\n", "a: [x, 'y', \"z\"]\n", "a: &x 1\nb: *x\n", "a: |\n  b\n", "{a: {b: [1, 2.5, null]}}\n", "a: 1e3\nb: 0x1F\n", "? a\n: b\n", "a: >-\n  x\n\n  y\n", "{a:,b}",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := yamlfile.Value("data.yaml", []byte(text))
		if err != nil {
			return
		}
		opa, err := opaReads("data.yaml", []byte(text))
		require.NoError(t, err)
		requireSame(t, opa, got, text)
		require.True(t, utf8.ValidString(fmt.Sprint(ast.MustInterfaceToValue(got))))
	})
}
