//go:build linux

package compare

import (
	"context"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// sample is one run against one server.
type sample struct {
	PerSecond   float64       // answers, or what each answer holds several of
	Mean        time.Duration // of a request, and so are the next
	P50, P99    time.Duration
	ServerCPU   time.Duration // of the server, for each of what PerSecond counts
	DatabaseCPU time.Duration // of Postgres, likewise
	First       bool          // the load generator did not wait for a core
}

func perSecondOf(x sample) float64 { return x.PerSecond }

func p99Of(x sample) time.Duration { return x.P99 }

func nanosecondsOf(x sample) float64 { return float64(x.P99) }

// target is a server under a load.
type target struct {
	rig.Load
	server *rig.Process
	watch  int // process whose children's time is told, too: a postmaster; 0 for none
}

const connections = 16

func (t target) measure(ctx context.Context, self string, seconds float64) (sample, error) {
	serverBefore, databaseBefore, err := t.used()
	if err != nil {
		return sample{}, err
	}
	result, decisions, err := t.Run(ctx, self, seconds)
	if err != nil {
		return sample{}, err
	}
	serverAfter, databaseAfter, err := t.used()
	if err != nil {
		return sample{}, err
	}
	return sample{
		PerSecond: float64(decisions) / result.Took.Seconds(), Mean: result.Mean, P50: result.P50, P99: result.P99,
		ServerCPU:   (serverAfter - serverBefore) / time.Duration(decisions),
		DatabaseCPU: (databaseAfter - databaseBefore) / time.Duration(decisions),
		First:       result.First,
	}, nil
}

func (t target) used() (server, database time.Duration, err error) {
	server, err = rig.CPUTime(t.server.PID())
	if err != nil || t.watch == 0 {
		return server, 0, err
	}
	database, err = rig.TreeTime(t.watch)
	return server, database, err
}
