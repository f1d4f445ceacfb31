package author_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/author"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

const slowRule = `package admission.register

# METADATA
# title: Nothing is called x
# description: Nowhere in the request.
# custom: {code: NO_X, severity: low, status: 400}
deny contains violation if {
	walk(input.request, [_, "x"])
	violation := {"reason": "x", "message": "Something is called x."}
}
`

func TestCheckProfilesTheEmbeddedRules(t *testing.T) {
	got := programtest.Command(t, "", "check", "--profile")
	require.Zero(t, got.Code, got.Err)
	require.Regexp(t, `admission\.lib\.url_safety +lib/url_safety\.rego:26 +\d+ +\d+\.\d % +never`, got.Out)
	require.Contains(t, got.Out, "No rule needs the engine")

	var answer author.CheckAnswer
	got = programtest.Command(t, "", "check", "--profile", "--output", "json")
	require.Zero(t, got.Code, got.Err)
	require.NoError(t, json.Unmarshal([]byte(got.Out), &answer))
	require.Greater(t, answer.Profile.Inputs, 100)
	require.NotEmpty(t, answer.Profile.Rules)
}

func TestCheckSaysWhichRuleIsSlow(t *testing.T) {
	folder := cmdtest.PolicyFolder(t, "slow.rego", slowRule)
	got := programtest.Command(t, "", "check", "--profile", "--policies", folder)
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "the least input of each hook")
	require.Contains(t, got.Out, "in 1 of 1 inputs")
	require.Contains(t, got.Out, "slow: admission.register.deny (slow.rego:7) needs the engine for every input")

	got = programtest.Command(t, "", "check", "--profile", "--policies", folder, "--cases", "../../../policies_test/cases")
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "slow: ")

	got = programtest.Command(t, "", "check", "--profile", "--policies", folder, "--cases", "nowhere")
	require.Equal(t, cli.ExitFailed, got.Code)
	require.Contains(t, got.Err, "cases to profile")
}
