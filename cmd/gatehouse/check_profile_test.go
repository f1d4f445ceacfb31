package main

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
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
	got := command(t, "", "check", "--profile")
	require.Zero(t, got.code, got.err)
	require.Regexp(t, `admission\.lib\.url_problems +lib/url_safety\.rego:27 +\d+ +\d+\.\d % +never`, got.out)
	require.Contains(t, got.out, "No rule needs the engine")

	var answer checkAnswer
	got = command(t, "", "check", "--profile", "--output", "json")
	require.Zero(t, got.code, got.err)
	require.NoError(t, json.Unmarshal([]byte(got.out), &answer))
	require.Greater(t, answer.Profile.Inputs, 100)
	require.NotEmpty(t, answer.Profile.Rules)
}

func TestCheckSaysWhichRuleIsSlow(t *testing.T) {
	folder := policyFolder(t, "slow.rego", slowRule)
	got := command(t, "", "check", "--profile", "--policies", folder)
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "the least input of each hook")
	require.Contains(t, got.out, "in 1 of 1 inputs")
	require.Contains(t, got.out, "slow: admission.register.deny (slow.rego:7) needs the engine for every input")

	got = command(t, "", "check", "--profile", "--policies", folder, "--cases", "../../policies_test/cases")
	require.Zero(t, got.code, got.err)
	require.Contains(t, got.out, "slow: ")

	got = command(t, "", "check", "--profile", "--policies", folder, "--cases", "nowhere")
	require.Equal(t, exitFailed, got.code)
	require.Contains(t, got.err, "cases to profile")
}
