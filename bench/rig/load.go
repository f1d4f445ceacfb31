//go:build linux

package rig

import (
	"bytes"
	"cmp"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/molecule-ai/gatehouse/bench/load"
)

// Load is what a server is put under, and how it is told that it did what it should.
type Load struct {
	Server      string // its name, for errors
	Address     string
	Connections int
	Requests    [][]byte
	Each        int    // decisions in one request
	Counted     string // text of which an answer has one for each decision that is a deny
	Denied      func(decisions int64) int64
	Once        bool // every request is sent once
	Turn        int  // after so many requests the same workspaces come again; 0 for all Requests
	TakeTurns   bool // the generator waits for a core as the server does
}

// DenyShare is how many of the decisions on Mixed are denies.
func DenyShare(decisions int64) int64 { return decisions / DenyEvery }

// ReviewLoad asks for Mixed.
func ReviewLoad(server, address string, connections int) (Load, error) {
	requests, err := Reviews(Mixed())
	return Load{
		Server: server, Address: address, Connections: connections, Requests: requests, Each: 1,
		Counted: `"allowed":false`, Denied: DenyShare,
	}, err
}

// Run gives what came of it and the number of decisions, of which all were answered. The program self must serve the
// load when its only argument is "load".
func (l Load) Run(ctx context.Context, self string, seconds float64) (load.Result, int64, error) {
	result, err := runLoad(ctx, self, load.Spec{
		Address: l.Address, Connections: l.Connections, Duration: time.Duration(seconds * float64(time.Second)),
		Requests: l.Requests, Once: l.Once, Counted: l.Counted, TakeTurns: l.TakeTurns,
	})
	if err != nil {
		return result, 0, fmt.Errorf("load on %s: %w", l.Server, err)
	}
	if result.Errors > 0 {
		return result, 0, fmt.Errorf("%s answered %d of %d requests with an error: %s",
			l.Server, result.Errors, result.Errors+result.Answers, result.Failure)
	}
	decisions := result.Answers * int64(l.Each)
	return result, decisions, l.Check(decisions, result.Counted)
}

// Check refuses a run that was fast because it did not do what it should. The load ends in the middle of a turn, with
// requests on their way that the server counts and the load does not.
func (l Load) Check(decisions, counted int64) error {
	if decisions == 0 {
		return fmt.Errorf("%s answered nothing", l.Server)
	}
	if l.Denied == nil {
		return nil
	}
	turn := cmp.Or(l.Turn, len(l.Requests))
	want, slack := l.Denied(decisions), int64((turn+l.Connections)*l.Each/DenyEvery+1)
	if counted < want-slack || counted > want+slack {
		return fmt.Errorf("%s: %d of %d decisions are denies, and not about %d", l.Server, counted, decisions, want)
	}
	return nil
}

// runLoad runs the load generator in a process of its own, so that its garbage collector and scheduler are not the
// server's nor this program's.
func runLoad(ctx context.Context, self string, spec load.Spec) (load.Result, error) {
	var in bytes.Buffer
	err := gob.NewEncoder(&in).Encode(spec)
	if err != nil {
		return load.Result{}, err
	}
	child := exec.CommandContext(ctx, self, "load")
	child.Stdin, child.Stderr = &in, os.Stderr
	child.Env = append(os.Environ(), "GOMAXPROCS=1")
	out, err := child.Output()
	if err != nil {
		return load.Result{}, err
	}
	var result load.Result
	return result, json.Unmarshal(out, &result)
}

// ServeLoad is that process.
func ServeLoad(ctx context.Context) error {
	var spec load.Spec
	err := gob.NewDecoder(os.Stdin).Decode(&spec)
	if err != nil {
		return fmt.Errorf("reading what to send: %w", err)
	}
	result, err := load.Run(ctx, spec)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(result))
}
