//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"gatehouse/bench/load"
)

// sample is one run against one server.
type sample struct {
	PerSecond   float64       // answers, or what each answer holds several of
	Mean        time.Duration // of a request, and so are the next
	P50, P99    time.Duration
	ServerCPU   time.Duration // of the server, for each of what PerSecond counts
	DatabaseCPU time.Duration // of Postgres, likewise
}

// target is a server under a load.
type target struct {
	server   *process
	requests [][]byte
	each     int    // decisions in one request
	counted  string // text of which an answer has one for each decision that is a deny
	denied   func(decisions int64) int64
	once     bool // every request is sent once
	watch    int  // process whose children's time is told, too: a postmaster; 0 for none
}

const connections = 16

func (t target) measure(ctx context.Context, self string, seconds float64, connections int) (sample, error) {
	serverBefore, databaseBefore, err := t.used()
	if err != nil {
		return sample{}, err
	}
	result, err := runLoad(ctx, self, load.Spec{
		Address: t.server.address, Connections: connections, Duration: time.Duration(seconds * float64(time.Second)),
		Requests: t.requests, Once: t.once, Counted: t.counted,
	})
	if err != nil {
		return sample{}, fmt.Errorf("load on %s: %w", t.server.name, err)
	}
	serverAfter, databaseAfter, err := t.used()
	if err != nil {
		return sample{}, err
	}
	if result.Errors > 0 {
		return sample{}, fmt.Errorf("%s answered %d of %d requests with an error: %s",
			t.server.name, result.Errors, result.Errors+result.Answers, result.Failure)
	}
	decisions := result.Answers * int64(t.each)
	err = t.check(decisions, result.Counted)
	if err != nil {
		return sample{}, err
	}
	return sample{
		PerSecond: float64(decisions) / result.Took.Seconds(), Mean: result.Mean, P50: result.P50, P99: result.P99,
		ServerCPU:   (serverAfter - serverBefore) / time.Duration(decisions),
		DatabaseCPU: (databaseAfter - databaseBefore) / time.Duration(decisions),
	}, nil
}

func (t target) used() (server, database time.Duration, err error) {
	server, err = cpuTime(t.server.command.Process.Pid)
	if err != nil || t.watch == 0 {
		return server, 0, err
	}
	database, err = treeTime(t.watch)
	return server, database, err
}

// check refuses a run that was fast because it did not do what it should. The load ends in the middle of a turn, with
// requests on their way that the server counts and the load does not.
func (t target) check(decisions, counted int64) error {
	if t.denied == nil {
		return nil
	}
	want, slack := t.denied(decisions), int64((len(t.requests)+connections)*t.each/denyEvery+1)
	if counted < want-slack || counted > want+slack {
		return fmt.Errorf("%s: %d of %d decisions are denies, and not about %d", t.server.name, counted, decisions, want)
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

// serveLoad is that process.
func serveLoad(ctx context.Context) error {
	var spec load.Spec
	err := gob.NewDecoder(os.Stdin).Decode(&spec)
	if err != nil {
		return fmt.Errorf("reading what to send: %w", err)
	}
	result, err := load.Run(ctx, spec)
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(result))
}
