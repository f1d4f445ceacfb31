package snapshot_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/adapters/opa/casetest"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestViolationHasTheMetadataOfItsRule(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Hook(opatest.SomeEntry, "mark_failed: true", "answer: no"))
	require.Equal(t, []admission.Violation{{
		Rule: "some_rule", Code: "SOME_CODE", Reason: "r", Message: "m", Severity: admission.High,
		Enforcement: admission.Deny, Status: 400, MarkFailed: true, Answer: "no",
	}}, opatest.Verdict(t, snapshot, opatest.Registering(t, "")).Violations)
	require.Equal(t, []admission.Rule{{
		Name: "some_rule", Package: "admission.register", File: "register/some_rule.rego", Row: 7, Title: "A title",
		Description: "A description.", Code: "SOME_CODE", Severity: admission.High, Status: 400, MarkFailed: true, Answer: "no",
	}}, snapshot.Rules())
	require.True(t, snapshot.HasCode("SOME_CODE"))
	require.False(t, snapshot.HasCode("OTHER_CODE"))
	require.True(t, snapshot.HasHook("register"))
	require.False(t, snapshot.HasHook("heartbeat"))
}

func TestEntryOverridesStatusAndMark(t *testing.T) {
	for entry, want := range map[string]admission.Violation{
		`"status": 403`:                       {Status: 403, MarkFailed: true},
		`"mark_failed": false`:                {Status: 400, MarkFailed: false},
		`"status": 499, "mark_failed": false`: {Status: 499},
		`"status": 400, "mark_failed": true`:  {Status: 400, MarkFailed: true},
	} {
		got := opatest.Verdict(t, opatest.Load(t, opatest.Hook(`violation := {"reason": "r", "message": "m", `+entry+`}`, "mark_failed: true")), opatest.Registering(t, "")).Violations[0]
		require.Equal(t, want.Status, got.Status, entry)
		require.Equal(t, want.MarkFailed, got.MarkFailed, entry)
	}
}

// These policies have faults that only show on some requests. None of them may end as an allow.
func TestEvaluationFaultsAreErrors(t *testing.T) {
	bad := "input.request.bad\n"
	anything := `object.get(input.request, "entry", 1)`
	// The set passes on a rule, and adds an entry of its own.
	coded := opatest.Annotation("CODED") + "coded contains violation if {\nfalse\n" + opatest.SomeEntry + "\n}\n\n"
	slipped := "count(coded) == 0\n" + bad
	for name, test := range map[string]struct {
		source  snapshot.Source
		members string
		says    string
	}{
		"a builtin fails":             {opatest.Hook("to_number(input.request.bad) > 1\n" + opatest.SomeEntry), `, "bad": "x"`, "to_number"},
		"a builtin fails under not":   {opatest.Hook("not to_number(input.request.bad) == 1\n" + opatest.SomeEntry), `, "bad": "x"`, "to_number"},
		"a division by zero":          {opatest.Hook("1 / input.request.bad > 1\n" + opatest.SomeEntry), `, "bad": 0`, "divide by zero"},
		"a builtin's wrong type":      {opatest.Hook("lower(input.request.bad) == \"a\"\n" + opatest.SomeEntry), `, "bad": 1`, "lower"},
		"a helper conflicts":          {opatest.Module(opatest.Deny("a == 1\n"+opatest.SomeEntry) + "a := 1 if input.request.bad\na := 2 if input.request.bad\n"), `, "bad": true`, "conflict"},
		"a function conflicts":        {opatest.Module(opatest.Deny("f(1) == 1\n"+opatest.SomeEntry) + "f(x) := x if input.request.bad\nf(_) := 2 if input.request.bad\n"), `, "bad": true`, "conflict"},
		"no code":                     {opatest.Module(coded + "deny contains violation if {\n" + slipped + opatest.SomeEntry + "\n}"), `, "bad": true`, "without a code"},
		"no code beside one that has": {opatest.Module(coded + opatest.Deny("false\n"+opatest.SomeEntry) + "deny contains violation if {\n" + slipped + opatest.SomeEntry + "\n}"), `, "bad": true`, "without a code"},
		"an entry is text":            {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": "no"`, "object.union"},
		"an entry is null":            {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": null`, "object.union"},
		"an entry is empty":           {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {}`, "no reason or no message"},
		"an entry has no reason":      {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"message": "m"}`, "no reason or no message"},
		"an empty message":            {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": ""}`, "no reason or no message"},
		"a reason of null":            {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": null, "message": "m"}`, "a reason that is null"},
		"a member more":               {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": "m", "enforcement": "warn"}`, "enforcement that is string"},
		"a severity":                  {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": "m", "severity": "low"}`, "severity that is string"},
		"a status of success":         {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": "m", "status": 200}`, "400 to 499"},
		"a status of text":            {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": "m", "status": "403"}`, "status that is string"},
		"a mark of text":              {opatest.Hook(bad + "violation := " + anything), `, "bad": true, "entry": {"reason": "r", "message": "m", "mark_failed": "false"}`, "mark_failed that is string"},
		"a tag that names no rule":    {opatest.Module(coded + opatest.Deny("false\n"+opatest.SomeEntry) + "deny contains violation if {\n" + slipped + "violation := input.request.entry\n}"), `, "bad": true, "entry": {"reason": "r", "message": "m", "gatehouse.rule": 7}`, "names no rule"},
		"a tag of text":               {opatest.Module(coded + opatest.Deny("false\n"+opatest.SomeEntry) + "deny contains violation if {\n" + slipped + "violation := input.request.entry\n}"), `, "bad": true, "entry": {"reason": "r", "message": "m", "gatehouse.rule": "0"}`, "names no rule"},
		"a negative tag":              {opatest.Module(coded + opatest.Deny("false\n"+opatest.SomeEntry) + "deny contains violation if {\n" + slipped + "violation := input.request.entry\n}"), `, "bad": true, "entry": {"reason": "r", "message": "m", "gatehouse.rule": -1}`, "names no rule"},
		"a fault in a warning":        {opatest.Module(coded + opatest.Deny("false\n"+opatest.SomeEntry) + "warn contains violation if {\n" + slipped + opatest.SomeEntry + "\n}"), `, "bad": true`, "warn: an entry comes from a rule without a code"},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, test.source) // which passes: only the request shows the fault
			_, err := snapshot.Evaluate(t.Context(), opatest.Registering(t, test.members), time.Unix(0, 0))
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestInputsThatCannotBeReadAreErrors(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Hook(opatest.SomeEntry))
	in := opatest.Registering(t, "")
	in.Hook = "heartbeat"
	_, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
	require.ErrorContains(t, err, `no policy defines hook "heartbeat"`)

	for name, spoil := range map[string]func(*admission.Input){
		"no request":         func(in *admission.Input) { in.Request = nil },
		"a request cut off":  func(in *admission.Input) { in.Request = []byte(`{"a": [`) },
		"two requests":       func(in *admission.Input) { in.Request = []byte(`{} {}`) },
		"no stored columns":  func(in *admission.Input) { in.Facts.Workspace = nil },
		"columns cut off":    func(in *admission.Input) { in.Facts.Workspace = []byte(`{"kind": `) },
		"a name that is not": func(in *admission.Input) { in.Facts.Workspace = []byte(`{1: 2}`) },
	} {
		t.Run(name, func(t *testing.T) {
			in := opatest.Registering(t, "")
			spoil(&in)
			_, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
			require.ErrorContains(t, err, "building the input")
		})
	}
}

func TestRunawayPolicyStopsAtTheDeadline(t *testing.T) {
	for name, body := range map[string]string{
		"a long range": "count(numbers.range(1, 1000000000)) == 1",
		"nested loops": "some i in numbers.range(1, 100000)\nsome j in numbers.range(1, 100000)\ni * j == -1",
		"a large set":  "count({[i, j] | some i in numbers.range(1, 10000); some j in numbers.range(1, 10000)}) == 1",
		"every":        "every i in numbers.range(1, 100000) { every j in numbers.range(1, 100000) { i * j > 0 } }\nfalse",
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, opatest.Hook("input.request.bad\n"+body+"\n"+opatest.SomeEntry))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := snapshot.Evaluate(ctx, opatest.Registering(t, `, "bad": true`), start)
			require.ErrorContains(t, err, "evaluating")
			require.Less(t, time.Since(start), 2*time.Second, "and promptly")
		})
	}
}

func TestCancelledReviewHasNoVerdict(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, source := range []snapshot.Source{opatest.Hook(opatest.SomeEntry), opatest.Hook("false\n" + opatest.SomeEntry)} {
		_, err := opatest.Load(t, source).Evaluate(ctx, opatest.Registering(t, ""), time.Unix(0, 0))
		require.Error(t, err)
	}
}

func TestTimeOfPoliciesIsThatOfTheDecision(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Hook("time.now_ns() == 42\n"+opatest.SomeEntry))
	for at, denied := range map[int64]bool{42: true, 43: false} {
		got, err := snapshot.Evaluate(t.Context(), opatest.Registering(t, ""), time.Unix(0, at))
		require.NoError(t, err)
		require.Equal(t, denied, !got.Allowed())
	}
}

func TestEnforcementIsOfTheSetOrOfTheData(t *testing.T) {
	rules := opatest.HookPackage +
		opatest.Annotation("DENIES", "mark_failed: true") + `deny contains {"reason": "denies", "message": "m"}` + "\n\n" +
		opatest.Annotation("WARNS", "mark_failed: true") + `warn contains {"reason": "warns", "message": "m"}` + "\n"
	for name, test := range map[string]struct {
		enforcement string
		want        map[string]admission.Enforcement
		marking     string
	}{
		"as written":    {"{}", map[string]admission.Enforcement{"DENIES": "deny", "WARNS": "warn"}, "DENIES"},
		"null":          {"", map[string]admission.Enforcement{"DENIES": "deny", "WARNS": "warn"}, "DENIES"},
		"deny to warn":  {"{DENIES: warn}", map[string]admission.Enforcement{"DENIES": "warn", "WARNS": "warn"}, ""},
		"deny to audit": {"{DENIES: audit}", map[string]admission.Enforcement{"DENIES": "audit", "WARNS": "warn"}, ""},
		"warn to deny":  {"{WARNS: deny, DENIES: warn}", map[string]admission.Enforcement{"DENIES": "warn", "WARNS": "deny"}, "WARNS"},
		"warn to audit": {"{WARNS: audit}", map[string]admission.Enforcement{"DENIES": "deny", "WARNS": "audit"}, "DENIES"},
		"deny to deny":  {"{DENIES: deny}", map[string]admission.Enforcement{"DENIES": "deny", "WARNS": "warn"}, "DENIES"},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, opatest.Files(map[string]string{"register/some_rule.rego": rules, "data.yaml": "enforcement: " + test.enforcement}))
			got := opatest.Verdict(t, snapshot, opatest.Registering(t, ""))
			require.Len(t, got.Violations, 2)
			for _, violation := range got.Violations {
				require.Equal(t, test.want[violation.Code], violation.Enforcement, violation.Code)
			}
			require.Equal(t, test.marking == "", got.Allowed())
			if test.marking != "" {
				require.Equal(t, test.marking, got.Marking().Code)
			}
		})
	}
}

func names(violations []admission.Violation) []string {
	all := make([]string, len(violations))
	for i, violation := range violations {
		all[i] = violation.Rule + ": " + violation.Reason
	}
	return all
}

func TestViolationNamesTheRuleThatMadeIt(t *testing.T) {
	lib := "package admission.lib\n\n" +
		opatest.Annotation("FIRST") + "first contains {\"reason\": \"a\", \"message\": \"m\"}\n\n" +
		opatest.Annotation("SECOND") + "second contains {\"reason\": \"b\", \"message\": \"m\"}\n\n" +
		"problems contains {\"reason\": \"c\", \"message\": \"m\"}\n\n" +
		opatest.Annotation("THIRD") + "third contains problem if some problem in problems\n"
	for name, test := range map[string]struct {
		deny string
		want []string
	}{
		"passed on":                    {"deny contains v if some v in lib.first\n", []string{"first: a"}},
		"passed on, two sets":          {"deny contains v if some v in (lib.first | lib.second)\n", []string{"first: a", "second: b"}},
		"passed on in two rules":       {"deny contains v if some v in lib.first\n\ndeny contains v if some v in lib.second\n", []string{"first: a", "second: b"}},
		"passed on by a helper":        {"deny contains v if some v in relevant\n\nrelevant contains v if some v in lib.second\n", []string{"second: b"}},
		"passed on by a function":      {"deny contains v if some v in f(lib.first)\n\nf(all) := {v | some v in all}\n", []string{"first: a"}},
		"passed on, chosen by reason":  {"deny contains v if {\n\tsome v in lib.first\n\tv.reason == \"a\"\n}\n", []string{"first: a"}},
		"an untagged entry, tagged":    {"deny contains v if some v in lib.third\n", []string{"third: c"}},
		"made and passed on":           {"deny contains v if some v in lib.first\n\n" + opatest.Annotation("OWN") + "deny contains {\"reason\": \"d\", \"message\": \"m\"}\n", []string{"first: a", "some_rule: d"}},
		"passed on under another code": {opatest.Annotation("OWN") + "deny contains v if some v in lib.first\n", []string{"some_rule: a"}},
		"the same entry of two rules":  {"deny contains v if some v in lib.first\n\n" + opatest.Annotation("OWN") + "deny contains {\"reason\": \"a\", \"message\": \"m\"}\n", []string{"first: a", "some_rule: a"}},
		"nothing":                      {"deny contains v if {\n\tsome v in lib.first\n\tfalse\n}\n", []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, opatest.Files(map[string]string{
				"lib/lib.rego": lib, "register/some_rule.rego": opatest.HookPackage + "import data.admission.lib\n\n" + test.deny,
				// Another hook uses all of them: a rule in no hook is refused.
				"other/other.rego": "package admission.other\n\nimport data.admission.lib\n\ndeny contains v if some v in ((lib.first | lib.second) | lib.third)\n",
			}))
			require.ElementsMatch(t, test.want, names(opatest.Verdict(t, snapshot, opatest.Registering(t, "")).Violations))
		})
	}
}

func TestDocumentMetadataHoldsForEveryBody(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Module(strings.Replace(opatest.Annotation("SOME_CODE"), "# title", "# scope: document\n# title", 1)+
		"deny contains {\"reason\": \"a\", \"message\": \"m\"}\n\ndeny contains {\"reason\": \"b\", \"message\": \"m\"}\n"))
	require.Equal(t, []string{"some_rule: a", "some_rule: b"}, names(opatest.Verdict(t, snapshot, opatest.Registering(t, "")).Violations))
	require.Len(t, snapshot.Rules(), 1, "the bodies are one rule")
}

func TestRunawayPolicyIsRefusedWhenItIsLoaded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := snapshot.New(ctx, opatest.Hook("count(numbers.range(1, 1000000000)) == 1\n"+opatest.SomeEntry), opatest.Schema(t))
	require.ErrorContains(t, err, "hook register: evaluating")
	require.Less(t, time.Since(start), 2*time.Second)
}

// Tags of the engine are hidden: a rule that reads another rule's entries sees the same as in a Rego test.
func TestTagsOfEntriesAreHiddenFromRules(t *testing.T) {
	texts := map[string]string{
		"lib/lib.rego": "package admission.lib\n\n" +
			opatest.Annotation("FIRST") + "first contains {\"reason\": \"a\", \"message\": \"m\"}\n\n" +
			opatest.Annotation("SECOND") + "second contains violation if {\n\tsome other in first\n\tother.reason == \"a\"\n\tcount(first) == 1\n" +
			"\tviolation := {\"reason\": sprintf(\"%s_too\", [other.reason]), \"message\": other.message}\n}\n",
		"register/register.rego": opatest.HookPackage + "import data.admission.lib\n\ndeny contains v if some v in lib.second\n",
		"some_test.rego": "package some_test\n\nimport data.admission.register\n\n" +
			"test_reads if register.deny == {{\"reason\": \"a_too\", \"message\": \"m\"}}\n",
	}
	source := opatest.Files(texts)
	require.Equal(t, []string{"second: a_too"}, names(opatest.Verdict(t, opatest.Load(t, source), opatest.Registering(t, "")).Violations))
	report, err := casetest.Run(t.Context(), source, source.FS, opatest.Schema(t), casetest.Options{})
	require.NoError(t, err)
	require.Len(t, report.Results, 1)
	require.Empty(t, report.Failed())
}

// A violation has the enforcement that applies, and the one that its rule declares if that is another.
func TestViolationKeepsTheDeclaredEnforcement(t *testing.T) {
	for name, test := range map[string]struct {
		set         string
		enforcement string
		want        admission.Violation
	}{
		"a rule alone":        {"deny", "{}", admission.Violation{Enforcement: admission.Deny}},
		"deny made a warning": {"deny", "{SOME_CODE: warn}", admission.Violation{Enforcement: admission.Warn, Declared: admission.Deny}},
		"deny made an audit":  {"deny", "{SOME_CODE: audit}", admission.Violation{Enforcement: admission.Audit, Declared: admission.Deny}},
		"deny as it is":       {"deny", "{SOME_CODE: deny}", admission.Violation{Enforcement: admission.Deny}},
		"a warning made deny": {"warn", "{SOME_CODE: deny}", admission.Violation{Enforcement: admission.Deny, Declared: admission.Warn}},
		"a warning alone":     {"warn", "{}", admission.Violation{Enforcement: admission.Warn}},
	} {
		t.Run(name, func(t *testing.T) {
			rule := opatest.HookPackage + opatest.Annotation("SOME_CODE") + test.set + " contains violation if {\n" + opatest.SomeEntry + "\n}\n\n"
			if test.set != "deny" {
				rule += opatest.Annotation("NEVER") + "deny contains violation if {\nfalse\n" + opatest.SomeEntry + "\n}\n"
			}
			snapshot := opatest.Load(t, opatest.Files(map[string]string{"register/some_rule.rego": rule, "data.yaml": "enforcement: " + test.enforcement}))
			got := opatest.Verdict(t, snapshot, opatest.Registering(t, "")).Violations
			require.Len(t, got, 1)
			require.Equal(t, test.want.Enforcement, got[0].Enforcement)
			require.Equal(t, test.want.Declared, got[0].Declared)
			require.Equal(t, admission.Enforcement(test.set), got[0].Says())
		})
	}
}
