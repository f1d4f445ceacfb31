package serve_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/server/admission"
)

func TestWhatIfSaysWhatWouldBeDecidedAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", database)
	status, stored := s.WhatIf("") // the concierge without its MODEL
	require.Equal(t, 200, status)
	require.False(t, stored.Allowed)
	require.True(t, stored.MarksFailed)
	require.Equal(t, "lib/platform_requires_model.rego", stored.Fired[0].File)

	_, given := s.WhatIf(`, "facts": {"exists": true, "workspace": {"kind": "platform", "status": "online"}, "secret_keys": ["MODEL"]}`)
	require.True(t, given.Allowed, given.Violations)

	_, explained := s.WhatIf(`, "explain": true`)
	require.Equal(t, stored.Violations, explained.Violations)
	require.NotEmpty(t, explained.Coverage)
	fired := 0
	for _, rule := range explained.Rules {
		if rule.Fired {
			fired++
			continue
		}
		require.NotEmpty(t, rule.Why, rule.Rule.Name)
	}
	require.Equal(t, len(stored.Fired), fired)

	require.Zero(t, s.Stop())
	listed := programtest.Command(t, "", "decisions", "list", "--database-url", database, "--output", "json")
	require.Contains(t, listed.Out, `"decisions": []`)
	require.NotContains(t, s.Log.String(), `"msg":"review"`)
}

func TestCandidateIsCheckedAsLivePoliciesAreAndStopsInTime(t *testing.T) {
	t.Parallel()
	s := programtest.Serve(t, "--demo", "--database-url", "sqlite:"+filepath.Join(t.TempDir(), "gatehouse.db"), "--policy-timeout", "100ms")
	module := func(body string) string {
		text := "package admission.register\n# METADATA\n# title: T\n# description: D.\n# custom: {code: CLOSED, severity: high, status: 403}\n" +
			"deny contains violation if {\n" + body + "\nviolation := {\"reason\": \"r\", \"message\": \"m\"}\n}\n"
		encoded, err := json.Marshal(map[string]any{"files": map[string]string{"register/closed.rego": text, "data.yaml": cmdtest.GatelessData}})
		require.NoError(t, err)
		return `, "candidate": ` + string(encoded)
	}
	status, closed := s.WhatIf(module(`input.facts.exists`))
	require.Equal(t, 200, status, closed.Detail)
	require.Equal(t, "CLOSED", closed.Violations[0].Code)
	require.Equal(t, "register/closed.rego", closed.Fired[0].File)
	_, live := s.WhatIf("")
	require.NotEqual(t, live.Revision, closed.Revision)

	for body, want := range map[string]string{
		"input.reqest": "register/closed.rego:7:",
		`http.send({"method": "GET", "url": "x"})`: "http.send",
		`x := 1`: "x unused",
	} {
		status, refused := s.WhatIf(module(body))
		require.Equal(t, 400, status, body)
		require.Equal(t, admission.CodeMalformedRequest, refused.Code)
		require.Contains(t, refused.Detail, want)
	}
	status, large := s.WhatIf(module(strings.Repeat("input.facts.exists\n", 1<<13)))
	require.Contains(t, []int{200, 504}, status, large.Detail) // as fast as the machine compiles

	// It compiles and passes on the least of inputs, and never ends on a real one.
	status, runaway := s.WhatIf(module(`input.request.id
count([1 | numbers.range(1, 3000)[_]; numbers.range(1, 3000)[_]]) > 0`))
	require.Equal(t, 500, status, runaway.Detail)
	require.Equal(t, admission.CodePolicyError, runaway.Code)
}
