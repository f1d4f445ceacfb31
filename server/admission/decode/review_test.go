package decode_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/admission/decode"
)

const workspaceID = "01890a5d-ac96-774b-bcce-b302099a8057"

// withID is a workspace with further members.
func withID(members string) string {
	if members == "" {
		return `{"id": "` + workspaceID + `"}`
	}
	return `{"id": "` + workspaceID + `", ` + members + `}`
}

func envelope(workspace string) string { return `{"workspace": ` + workspace + `}` }

func decodeReview(body string) (admission.Review, error) {
	return decode.Review("register", []byte(body), decode.DefaultMaxDepth)
}

func review(t testing.TB, body string) admission.Review {
	t.Helper()
	decoded, err := decodeReview(body)
	require.NoError(t, err)
	return decoded
}

// malformed checks that err is an answer of 400 and gives what it tells the caller.
func malformed(t testing.TB, err error) string {
	t.Helper()
	require.Error(t, err)
	coded := admission.AsError(err)
	require.Equal(t, admission.CodeMalformedRequest, coded.Code)
	require.NotEmpty(t, coded.Detail)
	return coded.Detail
}

func TestReviewKeepsEveryMember(t *testing.T) {
	workspace := `{"id": "` + strings.ToUpper(workspaceID) + `",  "url":"HTTPS://Agent.example.com", "kind": "platform",` +
		"\n\t" + `"agent_card": {"n": 12345678901234567890.123, "s": "a\u00e9\/"}, "UID": 1, "dry_run": [null]}`
	got := review(t, `{"uid": "r-1", "dry_run": true, "caller_proof": "install", "workspace": `+workspace+`}`)
	require.Equal(t, "register", got.Hook)
	require.Equal(t, "r-1", got.UID)
	require.True(t, got.DryRun)
	require.Equal(t, admission.Install, got.CallerProof)
	require.Equal(t, workspaceID, got.WorkspaceID.String())
	require.Equal(t, "platform", got.Kind)
	require.Equal(t, "agent.example.com", got.URL.Host)
	require.Equal(t, workspace, string(got.Workspace), "members of workspace pass byte for byte")
}

func TestReviewDefaults(t *testing.T) {
	for _, body := range []string{
		envelope(withID("")),
		`{"uid": null, "dry_run": null, "caller_proof": null, "workspace": ` + withID(`"url": null, "kind": null`) + `}`,
	} {
		got := review(t, body)
		require.Empty(t, got.UID)
		require.False(t, got.DryRun)
		require.Equal(t, admission.Token, got.CallerProof)
		require.Empty(t, got.Kind)
		require.Equal(t, admission.URL{}, got.URL)
	}
}

func TestReviewAcceptsMembersOfOtherTypes(t *testing.T) {
	got := review(t, envelope(withID(`"url": ["http://127.0.0.1"], "kind": {"kind": "platform"}, "mcp_server_present": "no"`)))
	require.Equal(t, admission.URL{}, got.URL)
	require.Empty(t, got.Kind)
}

func TestReviewRefusesMalformedBodies(t *testing.T) {
	ok := withID("")
	for name, test := range map[string]struct{ body, detail string }{
		"nothing":                           {``, "invalid JSON"},
		"white space":                       {" \n", "invalid JSON"},
		"null":                              {`null`, "workspace is required"},
		"an array":                          {`[` + ok + `]`, "wrong type"},
		"text":                              {`"workspace"`, "wrong type"},
		"cut off":                           {`{"workspace": ` + ok, "invalid JSON"},
		"a second value":                    {envelope(ok) + `{}`, "invalid JSON"},
		"a trailing byte":                   {envelope(ok) + `x`, "invalid JSON"},
		"a trailing NUL":                    {envelope(ok) + "\x00", "invalid JSON"},
		"a byte order mark":                 {"\ufeff" + envelope(ok), "invalid JSON"},
		"a comment":                         {`{"workspace": ` + ok + `/**/}`, "invalid JSON"},
		"a trailing comma":                  {`{"workspace": ` + ok + `,}`, "invalid JSON"},
		"NaN":                               {envelope(withID(`"tier": NaN`)), "invalid JSON"},
		"single quotes":                     {`{'workspace': ` + ok + `}`, "invalid JSON"},
		"UID":                               {`{"UID": "a", "workspace": ` + ok + `}`, "unknown member /UID"},
		"Workspace":                         {`{"Workspace": ` + ok + `}`, "unknown member /Workspace"},
		"another case beside it":            {`{"workspace": ` + ok + `, "WORKSPACE": {}}`, "unknown member /WORKSPACE"},
		"an unknown member":                 {`{"workspace": ` + ok + `, "force": true}`, "unknown member /force"},
		"an empty name":                     {`{"workspace": ` + ok + `, "": true}`, "unknown member"},
		"uid twice":                         {`{"uid": "a", "uid": "a", "workspace": ` + ok + `}`, "duplicate member name /uid"},
		"uid twice, once escaped":           {`{"uid": "a", "\u0075id": "a", "workspace": ` + ok + `}`, "duplicate member name /uid"},
		"workspace twice":                   {`{"workspace": ` + ok + `, "workspace": ` + ok + `}`, "duplicate member name /workspace"},
		"id twice":                          {envelope(withID(`"id": "` + workspaceID + `"`)), "duplicate member name /workspace/id"},
		"a duplicate in the card":           {envelope(withID(`"agent_card": {"a": 1, "a": 1}`)), "duplicate member name /workspace/agent_card/a"},
		"a duplicate deep in the card":      {envelope(withID(`"agent_card": [0, {"a": {"b": null, "b": null}}]`)), "duplicate member name /workspace/agent_card/1/a/b"},
		"uid a number":                      {`{"uid": 7, "workspace": ` + ok + `}`, `wrong type of value at "/uid"`},
		"dry_run text":                      {`{"dry_run": "true", "workspace": ` + ok + `}`, `wrong type of value at "/dry_run"`},
		"dry_run a number":                  {`{"dry_run": 1, "workspace": ` + ok + `}`, `wrong type of value at "/dry_run"`},
		"caller_proof empty":                {`{"caller_proof": "", "workspace": ` + ok + `}`, "caller_proof"},
		"caller_proof unknown":              {`{"caller_proof": "Token", "workspace": ` + ok + `}`, "caller_proof"},
		"caller_proof with a space":         {`{"caller_proof": "install ", "workspace": ` + ok + `}`, "caller_proof"},
		"caller_proof a number":             {`{"caller_proof": 1, "workspace": ` + ok + `}`, `wrong type of value at "/caller_proof"`},
		"no workspace":                      {`{}`, "workspace is required"},
		"workspace null":                    {envelope(`null`), "workspace is required"},
		"workspace an array":                {envelope(`[` + ok + `]`), "workspace is required"},
		"workspace text":                    {envelope(`"` + workspaceID + `"`), "workspace is required"},
		"no id":                             {envelope(`{}`), "workspace.id"},
		"ID instead of id":                  {envelope(`{"ID": "` + workspaceID + `"}`), `workspace has the member "ID"`},
		"id null":                           {envelope(`{"id": null}`), "workspace.id"},
		"id empty":                          {envelope(`{"id": ""}`), "workspace.id"},
		"id a number":                       {envelope(`{"id": 7}`), "workspace.id"},
		"id an array":                       {envelope(`{"id": ["` + workspaceID + `"]}`), "workspace.id"},
		"id malformed":                      {envelope(`{"id": "` + workspaceID[1:] + `"}`), "workspace.id"},
		"id with a space":                   {envelope(`{"id": " ` + workspaceID + `"}`), "workspace.id"},
		"id a URN":                          {envelope(`{"id": "urn:uuid:` + workspaceID + `"}`), "workspace.id"},
		"NUL in a value":                    {envelope(withID(`"name": "a\u0000b"`)), "NUL character"},
		"NUL in a name":                     {envelope(withID(`"a\u0000b": 1`)), "NUL character"},
		"NUL in the uid":                    {`{"uid": "\u0000", "workspace": ` + ok + `}`, "NUL character"},
		"NUL after an escaped backslash":    {envelope(withID(`"name": "\\\u0000"`)), "NUL character"},
		"a raw NUL":                         {envelope(withID("\"name\": \"a\x00b\"")), "invalid JSON"},
		"a raw line feed":                   {envelope(withID("\"name\": \"a\nb\"")), "invalid JSON"},
		"a lone high surrogate":             {envelope(withID(`"name": "\ud800"`)), "invalid JSON"},
		"a lone low surrogate":              {envelope(withID(`"name": "\udc00"`)), "invalid JSON"},
		"surrogates in the wrong order":     {envelope(withID(`"name": "\udc00\ud800"`)), "invalid JSON"},
		"a lone surrogate in a name":        {envelope(withID(`"\ud800": 1`)), "invalid JSON"},
		"invalid UTF-8":                     {envelope(withID("\"name\": \"\xff\"")), "invalid JSON"},
		"overlong UTF-8":                    {envelope(withID("\"name\": \"\xc0\x80\"")), "invalid JSON"},
		"a surrogate in UTF-8":              {envelope(withID("\"name\": \"\xed\xa0\x80\"")), "invalid JSON"},
		"a number beyond float64":           {envelope(withID(`"tier": 1e400`)), "number out of range"},
		"a negative one":                    {envelope(withID(`"tier": -1E+400`)), "number out of range"},
		"a number that vanishes":            {envelope(withID(`"tier": 1e-400`)), "number out of range"},
		"zero with an exponent without end": {envelope(withID(`"tier": 0e99999999999999999999`)), "number out of range"},
		"zero with a large exponent":        {envelope(withID(`"tier": -0.0e999999`)), "number out of range"},
		"zero with a small exponent":        {envelope(withID(`"tier": 0E-999999`)), "number out of range"},
		"a number in the card":              {envelope(withID(`"agent_card": [{"n": 1e999999999}]`)), "number out of range"},
		"digits without end":                {envelope(withID(`"tier": ` + strings.Repeat("9", 65))), "number of more than 64 characters"},
		"decimals without end":              {envelope(withID(`"tier": 0.` + strings.Repeat("3", 63))), "number of more than 64 characters"},
		"a leading zero":                    {envelope(withID(`"tier": 01`)), "invalid JSON"},
		"a leading plus":                    {envelope(withID(`"tier": +1`)), "invalid JSON"},
		"a number cut off":                  {`{"workspace": -`, "invalid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeReview(test.body)
			require.Contains(t, malformed(t, err), test.detail)
		})
	}
}

func TestReviewAcceptsUnusualBodies(t *testing.T) {
	for name, members := range map[string]string{
		"an escaped backslash before u0000": `"name": "\\u0000"`,
		"a pair of surrogates":              `"name": "\ud83d\ude00"`,
		"a replacement character":           `"name": "` + "\ufffd" + `"`,
		"the largest float64":               `"tier": 1.7976931348623157e308`,
		"the smallest float64":              `"tier": 5e-324`,
		"zero with an exponent":             `"tier": [0e308, -0.000E-300, 0e0]`,
		"64 digits":                         `"tier": ` + strings.Repeat("9", 64),
		"numbers in text":                   `"name": "1e400 0e99999999999999999999 -"`,
		"brackets in text":                  `"name": "` + strings.Repeat("[{", 100) + `"`,
		"a quote in text":                   `"name": "\"[[\\\"", "role": "]"`,
		"null members":                      `"url": null, "agent_card": null, "kind": null, "parent_id": null`,
		"an empty name":                     `"": 1`,
		"the same name in two objects":      `"a": {"a": {"a": 1}}`,
	} {
		t.Run(name, func(t *testing.T) {
			got := review(t, envelope(withID(members)))
			require.Equal(t, withID(members), string(got.Workspace))
		})
	}
}

func TestReviewNestingLimit(t *testing.T) {
	nested := func(depth int, open, closed string) string { // depth counts the envelope and the workspace
		return envelope(withID(`"card": ` + strings.Repeat(open, depth-2) + `1` + strings.Repeat(closed, depth-2)))
	}
	for _, brackets := range [][2]string{{"[", "]"}, {`{"a":`, "}"}} {
		_, err := decodeReview(nested(64, brackets[0], brackets[1]))
		require.NoError(t, err)
		_, err = decodeReview(nested(65, brackets[0], brackets[1]))
		require.Contains(t, malformed(t, err), "nested deeper than 64 levels")
		_, err = decodeReview(nested(500_000, brackets[0], brackets[1]))
		require.Contains(t, malformed(t, err), "nested deeper than 64 levels")
	}
	siblings := strings.TrimSuffix(strings.Repeat("[[]],", 1000), ",")
	_, err := decode.Review("register", []byte(envelope(withID(`"card": [`+siblings+`]`))), 5)
	require.NoError(t, err, "siblings do not nest")
	_, err = decode.Review("register", []byte(envelope(withID(`"card": [`+siblings+`]`))), 4)
	require.Error(t, err)
}

func TestUIDLimitIsInCharacters(t *testing.T) {
	for _, character := range []string{"a", "é", "漢", "😀"} {
		longest := strings.Repeat(character, 128)
		got := review(t, `{"uid": "`+longest+`", "workspace": `+withID("")+`}`)
		require.Equal(t, longest, got.UID)
		_, err := decodeReview(`{"uid": "` + longest + character + `", "workspace": ` + withID("") + `}`)
		require.Contains(t, malformed(t, err), "uid is longer than 128 characters")
	}
}

func TestReviewAcceptsEverySpellingOfAnID(t *testing.T) {
	for _, spelling := range []string{
		workspaceID,
		strings.ToUpper(workspaceID),
		"{" + workspaceID + "}",
		strings.ReplaceAll(workspaceID, "-", ""),
		"{" + strings.ToUpper(strings.ReplaceAll(workspaceID, "-", "")) + "}",
		"0189-0a5d-ac96-774b-bcce-b302-099a-8057",
		"01890a5dac96774b-bcceb302099a8057",
		`01890a5d\u002dac96-774b-bcce-b302099a8057`,
	} {
		got := review(t, `{"workspace": {"id": "`+spelling+`"}}`)
		require.Equal(t, workspaceID, got.WorkspaceID.String(), spelling)
	}
}

func TestErrorsRepeatNoValue(t *testing.T) {
	const planted = "hunter2-secret"
	ok := withID("")
	for _, body := range []string{
		planted,
		`"` + planted,
		`"` + planted + `"`,
		`{"uid": "` + planted + `"`,
		`{"uid": ["` + planted + `"], "workspace": ` + ok + `}`,
		`{"uid": "` + strings.Repeat(planted, 20) + `", "workspace": ` + ok + `}`,
		`{"dry_run": "` + planted + `", "workspace": ` + ok + `}`,
		`{"caller_proof": "` + planted + `", "workspace": ` + ok + `}`,
		`{"force": "` + planted + `", "workspace": ` + ok + `}`,
		envelope(`"` + planted + `"`),
		envelope(`{"id": "` + planted + `"}`),
		envelope(`{"id": {"` + planted + `": 1}}`),
		envelope(withID(`"token": "` + planted + `", "token": "` + planted + `"`)),
		envelope(withID(`"token": "` + planted + `\u0000"`)),
		envelope(withID("\"token\": \"" + planted + "\xff\"")),
		envelope(withID(`"token": "` + planted + `\ud800` + planted + `"`)),
		envelope(withID(`"token": "` + planted + `" "` + planted + `"`)),
		envelope(withID(`"token": ` + planted)),
		envelope(withID(`"token": "` + planted + `", "n": 1e400`)),
		envelope(ok) + planted,
	} {
		_, err := decodeReview(body)
		malformed(t, err)
		require.NotContains(t, err.Error(), planted)
		require.NotContains(t, err.Error(), planted[1:])

		_, err = decode.Batch("register", []byte(`{"reviews": [`+body+`]}`), decode.DefaultMaxDepth)
		malformed(t, err)
		require.NotContains(t, err.Error(), planted)
	}
}

func TestBatchKeepsItsOrder(t *testing.T) {
	body := func(n int) []byte {
		reviews := make([]string, n)
		for i := range reviews {
			reviews[i] = fmt.Sprintf(`{"uid": "%d", "workspace": %s}`, i, withID(""))
		}
		return []byte(`{"reviews": [` + strings.Join(reviews, ",") + `]}`)
	}
	for _, n := range []int{1, 2, 1000} {
		got, err := decode.Batch("heartbeat", body(n), decode.DefaultMaxDepth)
		require.NoError(t, err)
		require.Len(t, got, n)
		for i, one := range got {
			require.Equal(t, fmt.Sprint(i), one.UID)
			require.Equal(t, "heartbeat", one.Hook)
		}
	}
	_, err := decode.Batch("register", body(1001), decode.DefaultMaxDepth)
	require.Contains(t, malformed(t, err), "1001 entries, more than 1000")
}

func TestBatchIsRefusedForOneMalformedReview(t *testing.T) {
	ok := envelope(withID(""))
	for body, detail := range map[string]string{
		`{}`:                                "reviews is required",
		`null`:                              "reviews is required",
		`{"reviews": null}`:                 "reviews is required",
		`{"reviews": []}`:                   "reviews is required",
		`{"reviews": {}}`:                   `wrong type of value at "/reviews"`,
		`{"reviews": [` + ok + `], "a": 1}`: "unknown member /a",
		`{"Reviews": [` + ok + `]}`:         "unknown member /Reviews",
		`{"reviews": [` + ok + `]}]`:        "invalid JSON",
		`{"reviews": [` + ok + `, null]}`:   "reviews[1]: workspace is required",
		`{"reviews": [` + ok + `, ` + ok + `, {"workspace": {"id": "x"}}]}`:      "reviews[2]: workspace.id",
		`{"reviews": [{"caller_proof": "no", "workspace": ` + withID("") + `}]}`: "reviews[0]: caller_proof",
		`{"reviews": [` + ok + `, {"force": 1}]}`:                                "unknown member /reviews/1/force",
		`{"reviews": [{"uid": "a", "uid": "a"}]}`:                                "duplicate member name /reviews/0/uid",
	} {
		got, err := decode.Batch("register", []byte(body), decode.DefaultMaxDepth)
		require.Nil(t, got)
		require.Contains(t, malformed(t, err), detail, body)
	}
}

func TestPayloadIsTheWorkspace(t *testing.T) {
	body := withID(`"kind": "platform", "uid": "not the envelope's"`)
	got, err := decode.Payload("register", []byte(" "+body+"\n"), admission.Bootstrap, decode.DefaultMaxDepth)
	require.NoError(t, err)
	require.Equal(t, admission.Bootstrap, got.CallerProof)
	require.Empty(t, got.UID)
	require.False(t, got.DryRun)
	require.Equal(t, "platform", got.Kind)
	require.Equal(t, body, string(bytes.TrimSpace(got.Workspace)))

	for _, body := range []string{``, `null`, `[]`, `{}`, withID("") + "{}", withID(`"a": 1, "a": 1`), withID(`"a": 1e400`)} {
		_, err := decode.Payload("register", []byte(body), admission.Token, decode.DefaultMaxDepth)
		malformed(t, err)
	}
	_, err = decode.Payload("register", []byte(body), "", decode.DefaultMaxDepth)
	malformed(t, err)
}

// Facts with a row and without exists would be decided as those of an unknown workspace: an allow for the worst case.
func TestWhatIfRefusesARowThatDoesNotExist(t *testing.T) {
	const review = `{"hook": "register", "review": {"workspace": {"id": "00000000-0000-4000-8000-000000000001"}}, "facts": `
	_, err := decode.WhatIf([]byte(review+`{"workspace": {"kind": "platform"}, "secret_keys": []}}`), decode.DefaultMaxDepth)
	require.ErrorContains(t, err, "a workspace is given, so exists must be true")
	for _, facts := range []string{`{"exists": false}`, `{"exists": false, "workspace": {}}`, `{"exists": true, "workspace": {"kind": "platform"}}`} {
		_, err = decode.WhatIf([]byte(review+facts+`}`), decode.DefaultMaxDepth)
		require.NoError(t, err, facts)
	}
}

// A body is read into space that the next request uses again. What was decoded must not change with it: one workspace would be judged
// and another recorded.
func TestDecodedReviewsKeepNothingOfTheBody(t *testing.T) {
	const one = `{"uid": "u-1", "caller_proof": "install", "workspace": ` +
		`{"id": "` + workspaceID + `", "kind": "platform", "url": "https://a.example.com/x", "agent_card": {"name": "n"}}}`
	for name, c := range map[string]struct {
		body string
		read func(body []byte) (any, error)
	}{
		"a review": {one, func(body []byte) (any, error) { return decode.Review("register", body, decode.DefaultMaxDepth) }},
		"a batch": {`{"reviews": [` + one + `]}`, func(body []byte) (any, error) {
			return decode.Batch("register", body, decode.DefaultMaxDepth)
		}},
		"a payload": {withID(`"kind": "platform"`), func(body []byte) (any, error) {
			return decode.Payload("register", body, admission.Token, decode.DefaultMaxDepth)
		}},
		"a trial": {`{"hook": "register", "review": ` + one + `, "candidate": {"files": {"a.rego": "package a"}}}`, func(body []byte) (any, error) {
			return decode.WhatIf(body, decode.DefaultMaxDepth)
		}},
		"trials": {`{"hook": "register", "reviews": [{"review": ` + one + `, "facts": ` +
			`{"exists": true, "workspace": {"kind": "platform"}, "secret_keys": ["MODEL"], "global_secret_keys": []}}]}`,
			func(body []byte) (any, error) { return decode.WhatIfs(body, decode.DefaultMaxDepth) }},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := c.read([]byte(c.body))
			require.NoError(t, err)
			reused := []byte(c.body)
			got, err := c.read(reused)
			require.NoError(t, err)
			copy(reused, bytes.Repeat([]byte("x"), len(reused)))
			require.Equal(t, want, got)
		})
	}
}
