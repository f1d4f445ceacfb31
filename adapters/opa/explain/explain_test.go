package explain_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/adapters/opa/explain"
	"github.com/molecule-ai/gatehouse/adapters/opa/opatest"
	"github.com/molecule-ai/gatehouse/adapters/opa/snapshot"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// told gives the reasons why a rule did not fire as lines, indented by their depth.
func told(reasons []admission.Reason, indent string) []string {
	var lines []string
	for _, reason := range reasons {
		line := indent + reason.Expression + " " + reason.Outcome
		if len(reason.Values) > 0 {
			line += ": " + strings.Join(reason.Values, ", ")
		}
		lines = append(append(lines, line), told(reason.Because, indent+"  ")...)
	}
	return lines
}

func TestExplanationSaysWhereARuleStopped(t *testing.T) {
	const helpers = `
holds if input.request.tier == 2

alternative if input.request.tier > 5

alternative if {
	input.request.tier == 2
	input.request.name == "x"
}

above(n) if input.request.tier > n

things contains thing if {
	some thing in input.request.things
	thing > 10
}
`
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"a comparison":        {`input.request.tier == 3`, []string{`input.request.tier == 3 was false: input.request.tier is 2`}},
		"another":             {`input.request.tier > 3`, []string{`input.request.tier > 3 was false: input.request.tier is 2`}},
		"something missing":   {`input.request.url == "x"`, []string{`input.request.url == "x" was undefined: no input.request.url`}},
		"as an argument":      {`count(input.request.none) > 1`, []string{`count(input.request.none) > 1 was undefined: no input.request.none`}},
		"a result":            {`count(input.request.things) > 5`, []string{`count(input.request.things) > 5 was false: count(input.request.things) is 3`}},
		"data":                {`input.request.tier in data.tiers`, []string{`input.request.tier in data.tiers was false: data.tiers is [4, 5]`}},
		"a local variable":    {"tier := input.request.tier\ntier == 4", []string{`tier == 4 was false: tier is 2`}},
		"a negation":          {`not holds`, []string{`not holds was false`}},
		"a rule":              {`alternative`, []string{`alternative was undefined`, `  input.request.tier > 5 was false: input.request.tier is 2`, `  input.request.name == "x" was undefined: no input.request.name`}},
		"a function":          {"above(1)\nabove(2)", []string{`above(2) was undefined`, `  input.request.tier > n was false: input.request.tier is 2, n is 2`}},
		"an empty set":        {`some thing in things`, []string{`some thing in things found nothing`, `  thing > 10 was false: thing is 1`}},
		"an empty list":       {`some thing in input.request.empty`, []string{`some thing in input.request.empty found nothing: input.request.empty is []`}},
		"the furthest of all": {"some thing in input.request.things\nthing > 1\nthing > 2\nthing > 3", []string{`thing > 3 was false: thing is 3`}},
	} {
		t.Run(name, func(t *testing.T) {
			snapshot := opatest.Load(t, opatest.Files(map[string]string{
				"register/some_rule.rego": opatest.HookPackage + opatest.Annotation("SOME_CODE") + "deny contains violation if {\n" + test.body + "\n" + opatest.SomeEntry + "\n}\n" + helpers,
				"data.json":               `{"tiers": [4, 5]}`,
			}))
			explanation, err := explain.Review(t.Context(), snapshot, opatest.Registering(t, `, "tier": 2, "things": [1, 2, 3], "empty": []`), time.Now())
			require.NoError(t, err)
			require.Len(t, explanation.Rules, 1)
			require.False(t, explanation.Rules[0].Fired)
			got := told(explanation.Rules[0].Why, "")
			if name == "data" {
				require.Len(t, got, 1)
				require.Contains(t, got[0], "data.tiers is [4, 5]")
				require.Contains(t, got[0], "input.request.tier is 2")
				return
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestExplanationSaysWhyARuleWasNotEvaluated(t *testing.T) {
	snapshot := opatest.Load(t, opatest.Files(map[string]string{
		"lib/rules.rego":    "package admission.lib\n\n" + opatest.Annotation("SOME_CODE") + "some_rule contains violation if {\n" + opatest.SomeEntry + "\n}\n",
		"register/all.rego": opatest.HookPackage + "import data.admission.lib\n\ndeny contains violation if {\n\tinput.request.tier == 9\n\tsome violation in lib.some_rule\n}\n",
	}))
	explanation, err := explain.Review(t.Context(), snapshot, opatest.Registering(t, `, "tier": 2`), time.Now())
	require.NoError(t, err)
	require.True(t, explanation.Verdict.Allowed())
	require.Equal(t, []string{"input.request.tier == 9 was false: input.request.tier is 2"}, told(explanation.Rules[0].Why, ""))

	explanation, err = explain.Review(t.Context(), snapshot, opatest.Registering(t, `, "tier": 9`), time.Now())
	require.NoError(t, err)
	require.True(t, explanation.Rules[0].Fired)
	require.Empty(t, explanation.Rules[0].Why)
	var trace bytes.Buffer
	explanation.WriteTrace(&trace, "some_rule", false)
	require.Contains(t, trace.String(), "Enter data.admission.lib.some_rule")
	require.NotContains(t, trace.String(), "register/all.rego")
	require.NotContains(t, trace.String(), "gatehouse", "what tags entries is nothing of the author's")
}

// An explanation has the same verdict as a review.
func TestExplanationHasTheVerdictOfTheReview(t *testing.T) {
	snapshot := opatest.Load(t, snapshot.Directory("../../../policies"))
	for _, members := range []string{"", `, "kind": "platform"`, `, "tier": 9, "url": "http://10.0.0.1"`, `, "name": "a\nb"`} {
		in := opatest.Registering(t, members)
		explanation, err := explain.Review(t.Context(), snapshot, in, time.Unix(0, 0))
		require.NoError(t, err)
		require.Equal(t, opatest.Verdict(t, snapshot, in), explanation.Verdict)
	}
}

// Reviews and explanations share the compiled rules.
func TestExplanationsRunBesideReviews(t *testing.T) {
	snapshot := opatest.Embedded(t)
	in := opatest.Input(t, "register", opatest.PlatformRegister, opatest.Facts(t, opatest.PlatformRow))
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			_, err := snapshot.Evaluate(t.Context(), in, time.Unix(0, 0))
			return err
		})
		group.Go(func() error {
			_, err := explain.Review(t.Context(), snapshot, in, time.Unix(0, 0))
			return err
		})
	}
	require.NoError(t, group.Wait())
}
