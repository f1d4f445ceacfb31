package operate_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/replay"
)

// recordedTraffic is a database in which the demo workspaces have been decided by the embedded policies.
func recordedTraffic(t *testing.T) (databaseURL string, decided []programtest.Registered) {
	t.Helper()
	databaseURL = "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	s := programtest.Serve(t, "--demo", "--database-url", databaseURL)
	for n := 1; n <= 5; n++ {
		decided = append(decided, s.Register(n), s.Register(n, `, "caller_proof": "bootstrap"`))
	}
	status, body := s.Send("POST", "/v1/admission/register", `{"workspace": {"id": "00000000-0000-4000-8000-000000000009",
		"url": "https://agent.example.com", "agent_card": {"name": "Scout", "contact": "hunter2"}}}`, "")
	require.Equal(t, 200, status, body)
	var last programtest.Registered
	require.NoError(t, json.Unmarshal([]byte(body), &last))
	require.Zero(t, s.Stop())
	return databaseURL, append(decided, last)
}

func replayedAs(t *testing.T, args ...string) (replay.Report, programtest.Said) {
	t.Helper()
	got := programtest.Command(t, "", append([]string{"replay", "--output", "json"}, args...)...)
	var report replay.Report
	if got.Out != "" {
		require.NoError(t, json.Unmarshal([]byte(got.Out), &report), got.Out)
	}
	return report, got
}

// This is the self-check: what was recorded, replayed with the policies that decided it.
func TestReplayOfThePoliciesThatDecidedFlipsNothing(t *testing.T) {
	t.Parallel()
	databaseURL, decided := recordedTraffic(t)
	report, got := replayedAs(t, "--database-url", databaseURL, "--fail-on-flip")
	require.Zero(t, got.Code, got.Err)
	require.EqualValues(t, len(decided), report.Read)
	require.EqualValues(t, len(decided), report.Unchanged)
	require.Equal(t, map[string]int64{report.Candidate.Revision: int64(len(decided))}, report.Recorded)
	require.Empty(t, report.Flips)
	require.Empty(t, got.Err, "no bar where there is no terminal")
}

func TestReplayShowsACandidateThatLetsInMore(t *testing.T) {
	t.Parallel()
	databaseURL, _ := recordedTraffic(t)
	candidate := cmdtest.CandidateFolder(t, "{"+cmdtest.IdentityGateCode+": audit}")
	for flag, code := range map[string]int{"": 0, "--fail-on-flip": 1, "--fail-on-flip=any": 1, "--fail-on-flip=deny-to-allow": 1} {
		args := strings.Fields("--database-url " + databaseURL + " --policies " + candidate + " " + flag)
		report, got := replayedAs(t, args...)
		require.Equal(t, code, got.Code, "%s: %s", flag, got.Err)
		require.EqualValues(t, 2, report.Count(admission.DenyToAllow))
	}
	got := programtest.Command(t, "", "replay", "--database-url", databaseURL, "--policies", candidate, "--examples", "1", "--code", cmdtest.IdentityGateCode)
	require.Zero(t, got.Code, got.Err)
	require.Contains(t, got.Out, "deny_to_allow  "+cmdtest.IdentityGateCode+"  platform_requires_model")
	require.Contains(t, got.Out, "recorded:  deny  deny "+cmdtest.IdentityGateCode+"/model_missing\n    candidate: allow  audit "+cmdtest.IdentityGateCode)
	require.Equal(t, 1, strings.Count(got.Out, "\n    recorded:"))
}

func TestReplayTellsFlipsByTheirWay(t *testing.T) {
	t.Parallel()
	databaseURL, _ := recordedTraffic(t)
	candidate := cmdtest.PolicyFolder(t, "lib/strict.rego", "package admission.lib\n\n"+
		"# METADATA\n# title: T\n# description: D.\n# custom: {code: STRICT, severity: low, status: 400}\n"+
		"strict contains {\"reason\": \"r\", \"message\": \"m\"} if input.request.url\n",
		"register/strict.rego", "package admission.register\n\nimport data.admission.lib\n\ndeny contains v if some v in lib.strict\n")
	report, got := replayedAs(t, "--database-url", databaseURL, "--policies", candidate, "--fail-on-flip=deny-to-allow")
	require.Zero(t, got.Code, got.Err)
	require.Positive(t, report.Count(admission.AllowToDeny))
	require.Positive(t, report.Count(admission.VerdictChanged))
	_, got = replayedAs(t, "--database-url", databaseURL, "--policies", candidate, "--fail-on-flip")
	require.Equal(t, cli.ExitFailed, got.Code)
}

// A candidate that reads what no record has cannot be tried on it, and replay says so and not something else.
func TestReplayDoesNotCompareWhatTheRecordLacks(t *testing.T) {
	t.Parallel()
	databaseURL, decided := recordedTraffic(t)
	candidate := cmdtest.PolicyFolder(t, "lib/contact.rego", "package admission.lib\n\n"+
		"# METADATA\n# title: T\n# description: D.\n# custom: {code: CONTACT, severity: low, status: 400}\n"+
		"contact contains {\"reason\": \"r\", \"message\": \"m\"} if not input.request.agent_card.contact\n",
		"register/contact.rego", "package admission.register\n\nimport data.admission.lib\n\ndeny contains v if some v in lib.contact\n")
	report, got := replayedAs(t, "--database-url", databaseURL, "--policies", candidate)
	require.Zero(t, got.Code, got.Err)
	require.Equal(t, map[string]int64{admission.CardPointer: 1}, report.Skipped.Redacted)
	require.EqualValues(t, len(decided)-1, report.Evaluated, "those that sent no card")
	got = programtest.Command(t, "", "replay", "--database-url", databaseURL, "--policies", candidate)
	require.Contains(t, got.Out, "1 not compared:\n  1: the candidate reads /input/request/agent_card, which is erased or masked in the record\n")
}

func TestReplayTakesPartsOfTheRecord(t *testing.T) {
	t.Parallel()
	databaseURL, decided := recordedTraffic(t)
	for flags, want := range map[string]int{
		"":                       len(decided),
		"--limit 3":              3,
		"--hook register":        len(decided),
		"--hook heartbeat":       0,
		"--since 1h --until 30m": 0,
		"--since 2020-01-01T00:00:00Z --until 2020-01-02T00:00:00Z": 0,
		"--workspace 00000000-0000-4000-8000-000000000009":          1,
	} {
		report, got := replayedAs(t, append([]string{"--database-url", databaseURL}, strings.Fields(flags)...)...)
		require.Zero(t, got.Code, got.Err)
		require.EqualValues(t, want, report.Read, flags)
	}
	got := programtest.Command(t, "", "replay", "--database-url", databaseURL, "--hook", "heartbeat")
	require.Equal(t, "no such decision is recorded\n", got.Out)
}

func TestReplaySaysWhatItCannotDo(t *testing.T) {
	t.Parallel()
	databaseURL, _ := recordedTraffic(t)
	for args, says := range map[string]string{
		"--since yesterday":                      `--since: want a time like`,
		"--until 5":                              "--until",
		"--limit=-1":                             "must not be negative",
		"--workspace x":                          "--workspace",
		"--policies /nowhere":                    "nowhere",
		"--database-url sqlite:/nowhere/file.db": "--database-url",
		"--database-url mysql://x":               "neither postgres",
	} {
		got := programtest.Command(t, "", append([]string{"replay", "--database-url", databaseURL}, strings.Fields(args)...)...)
		require.Equal(t, cli.ExitFailed, got.Code, args)
		require.Contains(t, got.Err, says, args)
		require.Empty(t, got.Out, args)
	}
	got := programtest.Command(t, "", "replay", "--fail-on-flip=never")
	require.Equal(t, cli.ExitUsage, got.Code)
	require.Contains(t, got.Err, "any or deny-to-allow")
}
