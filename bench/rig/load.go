package rig

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Load is what a server is put under. wrk sends it from one thread and keeps all connections busy (a closed loop). It was
// chosen because it costs 10 to 14 µs of processor time a request on cores that it shares with the server; a client made
// of net/http costs 45, vegeta 55. nice lets it go first at the cores, where it may: callers on machines of their own do
// not wait for a core of the server's.
type Load struct {
	Path        string // of the URL
	Requests    string // file, from WriteRequests
	Connections int
	Each        int    // decisions in one request
	Denied      string // text that an answer has once for each deny; one decision in DenyEvery is one, unless
	AllDenied   bool   // all are
	NoneDenied  bool   // none is
}

const mostConnections = 256 // of a run

// Result is what wrk has seen.
type Result struct {
	Decisions      int64
	PerSecond      float64
	Mean, P50, P99 time.Duration // of a request
}

//go:embed wrk.lua
var wrkScript []byte

// WriteRequests puts one body a line into a file of the rig's folder.
func (r *Rig) WriteRequests(name string, bodies []any) (string, error) {
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for _, body := range bodies {
		err := encoder.Encode(body)
		if err != nil {
			return "", err
		}
	}
	file := filepath.Join(r.Folder, name+".jsonl")
	return file, os.WriteFile(file, lines.Bytes(), 0o600)
}

// send runs wrk for whole seconds, which is what it takes.
func (r *Rig) send(ctx context.Context, address string, l Load, seconds int) (Result, error) {
	script := filepath.Join(r.Folder, "wrk.lua")
	err := os.WriteFile(script, wrkScript, 0o600)
	if err != nil {
		return Result{}, err
	}
	wrk := exec.CommandContext(ctx, "nice", "-n", "-20", r.wrk, "--threads", "1", "--connections", fmt.Sprint(l.Connections),
		"--duration", fmt.Sprint(seconds), "--script", script, "http://"+address+l.Path)
	wrk.Env = append(os.Environ(), "REQUESTS="+l.Requests, "COUNTED="+l.Denied)
	var failure strings.Builder
	wrk.Stderr = &failure
	out, err := wrk.Output()
	if err != nil {
		return Result{}, fmt.Errorf("wrk: %w: %s", err, failure.String())
	}
	return l.read(lastLine(out), failure.String())
}

func lastLine(text []byte) []byte {
	text = bytes.TrimSpace(text)
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

// read refuses a run with errors, and one that was fast because it did not do what it should.
func (l Load) read(line []byte, failure string) (Result, error) {
	var seen struct {
		Answers, Errors, Counted int64
		Took, Mean, P50, P99     time.Duration // microseconds
	}
	err := json.Unmarshal(line, &seen)
	if err != nil {
		return Result{}, fmt.Errorf("reading what wrk says, %q: %w", line, err)
	}
	if seen.Errors > 0 || seen.Answers == 0 {
		return Result{}, fmt.Errorf("%d answers, %d errors: %s", seen.Answers, seen.Errors, failure)
	}
	decisions := seen.Answers * int64(l.Each)
	want, slack := decisions/DenyEvery, int64((MixedWorkspaces+l.Connections)*l.Each/DenyEvery)+1 // it may end in the middle of a turn
	switch {
	case l.AllDenied:
		// What the run before left under way at its end may be denied once its marks have been undone.
		want, slack = decisions, mostConnections
	case l.NoneDenied:
		want, slack = 0, 0
	}
	if seen.Counted < want-slack || seen.Counted > want+slack {
		return Result{}, fmt.Errorf("%d of %d decisions are denies, and not about %d", seen.Counted, decisions, want)
	}
	return Result{
		Decisions: decisions, PerSecond: float64(decisions) / (seen.Took * time.Microsecond).Seconds(),
		Mean: seen.Mean * time.Microsecond, P50: seen.P50 * time.Microsecond, P99: seen.P99 * time.Microsecond,
	}, nil
}
