package operate_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cmdtest"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/programtest"
)

// runOnce runs a command and gives its exit code and all that it printed.
func runOnce(t *testing.T, args ...string) (int, string) {
	t.Helper()
	got := programtest.Command(t, "", args...)
	return got.Code, got.Out + got.Err
}

// An operator's day: a receiver is away, its announcement waits, is looked at, tried again, and discarded.
func TestAnnouncementsAreListedRetriedAndDiscarded(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	gate := cmdtest.Start(t, "--demo", "--database-url", database,
		"--sinks", `[{name: ops, type: webhook, url: "http://127.0.0.1:9/", allow_private: true, secrets: ["`+cmdtest.WebhookSecret+`"]}]`).WaitReady()
	denied := gate.Review("register", cmdtest.RegisterBody(cmdtest.DemoWithoutModel))
	require.True(t, denied.MarkedFailed)
	require.Eventually(t, func() bool {
		_, text := runOnce(t, "announcements", "list", "--database-url", database, "--state", "retrying", "--sink", "ops")
		return strings.Contains(text, cmdtest.DemoWithoutModel.String())
	}, cmdtest.Patience, cmdtest.Tick)

	code, text := runOnce(t, "announcements", "list", "--database-url", database, "--output", "json")
	require.Zero(t, code, text)
	require.Contains(t, text, `"sink": "ops"`)
	require.Contains(t, text, `"sequence": 1`)
	status, text := gate.Get("/v1/announcements?sink=ops&state=retrying")
	require.Equal(t, 200, status, text)
	require.Contains(t, text, `"connection refused`[1:])
	status, _ = gate.Get("/v1/announcements?state=lost")
	require.Equal(t, 400, status)

	code, text = runOnce(t, "announcements", "retry", "1", "4711", "--database-url", database)
	require.Equal(t, cli.ExitFailed, code)
	require.Contains(t, text, "announcement 4711: there is no such announcement")
	code, text = runOnce(t, "announcements", "disable", "ops", "--database-url", database)
	require.Zero(t, code, text)
	require.Eventually(t, func() bool { return gate.Metric(`gatehouse_outbox_sink_disabled{sink="ops"}`) == "1" }, cmdtest.Patience, cmdtest.Tick)
	code, text = runOnce(t, "announcements", "enable", "ops", "--database-url", database)
	require.Zero(t, code, text)

	code, text = runOnce(t, "announcements", "discard", "--state", "retrying", "--database-url", database)
	require.Equal(t, cli.ExitFailed, code, text)
	require.Contains(t, text, "without --sink")
	require.Eventually(t, func() bool {
		code, _ := runOnce(t, "announcements", "discard", "1", "--database-url", database)
		return code == 0 // until then it is being delivered
	}, cmdtest.Patience, cmdtest.Tick)
	code, text = runOnce(t, "announcements", "list", "--database-url", database)
	require.Zero(t, code)
	require.NotContains(t, text, cmdtest.DemoWithoutModel.String())
	require.Equal(t, "0", gate.Metric(`gatehouse_outbox_pending{sink="ops"}`))
}

func TestAnnouncementsCommandsNeedIDsOrAState(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + filepath.Join(t.TempDir(), "gatehouse.db")
	for _, args := range [][]string{{"retry"}, {"retry", "1", "--dead"}, {"discard"}, {"discard", "1", "--state", "dead"}} {
		code, text := runOnce(t, append(append([]string{"announcements"}, args...), "--database-url", database)...)
		require.Equal(t, cli.ExitFailed, code, args)
		require.Contains(t, text, "name announcements by their ids", args)
	}
}

// Sinks come from the file as a list, and from a flag or variable as text. What is wrong is named; secrets are not.
func TestSinksAreReadStrictly(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		`[{name: ops, type: pigeon, url: "https://x.example.com"}]`:                                              `sink "ops"`,
		`[{name: ops, type: webhook, url: "https://x.example.com", colour: blue}]`:                               "a member is none of a sink's, which are allow_private",
		`[{name: ops, type: webhook, url: "http://x.example.com"}]`:                                              `sink "ops"`,
		`[{name: ops, type: webhook, url: "https://x.example.com", secrets: ["planted-secret"]}]`:                `sink "ops"`,
		`[{name: a, type: redis, url: "redis://:planted-secret@h"}, {name: a, type: redis, url: "redis://h"}]`:   "used twice",
		`[{name: ops, type: webhook, url: "https://x.example.com", retry_for: soon, secrets: [planted-secret]}]`: "retry_for",
		`[{`:  "sinks:2:1: ",
		`ops`: "want a list",
	} {
		code, output := runOnce(t, "serve", "--sinks", text, "--database-url", fmt.Sprintf("sqlite:%s/x.db", t.TempDir()))
		require.NotZero(t, code, text)
		require.Contains(t, output, says, text)
		require.NotContains(t, output, "planted-secret", text)
	}
}
