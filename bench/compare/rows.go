//go:build linux

package compare

import (
	"context"
	"fmt"
	"os"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// subject is one line of the table of servers.
type subject struct {
	row     string
	name    string
	target  target
	before  func(ctx context.Context) error // makes a run ready; nil for nothing
	samples []sample
	turns   []sample // under a load generator that waits for a core as the server does
}

// The goals as the table says them, and as they are checked: a ratio of throughputs, and one of p99.
type goal struct {
	text      string
	faster    float64 // than `opa run`, at least; 0 for no such goal
	p99       float64 // of that of `opa run`, at most; 0 likewise
	perSecond float64 // at least; 0 likewise
}

func (g goal) reachedBy(samples, opa []sample) bool {
	return (g.faster == 0 || paired(samples, opa, perSecondOf) >= g.faster) &&
		(g.p99 == 0 || paired(samples, opa, nanosecondsOf) <= g.p99) &&
		rig.MedianOf(samples, perSecondOf) >= g.perSecond
}

const (
	opaName  = "`opa run --server`, stores nothing"
	bareName = "a bare net/http handler, decides nothing"
)

var goals = map[string]goal{
	"A":       {text: "2.5 ×, half the p99", faster: 2.5, p99: 0.5},
	"A batch": {text: "6 ×", faster: 6},
	"B":       {text: "1.3 ×, the same p99", faster: 1.3, p99: 1},
	"C":       {text: "1.5 ×", faster: 1.5},
	"D":       {text: "5,000/s", perSecond: 5000},
}

const batchSize = 100

func newTarget(server *rig.Process, requests [][]byte) target {
	return target{
		Load:   rig.Load{Server: server.Name, Address: server.Address, Connections: connections, Requests: requests, Each: 1},
		server: server,
	}
}

func (r *servers) subjects(o options) ([]*subject, error) {
	some := rig.Mixed()
	var all []*subject
	var failed error
	add := func(row, name string, server *rig.Process, requests [][]byte, err error, change func(*subject)) {
		if err != nil {
			failed = err
		}
		s := &subject{row: row, name: name, target: newTarget(server, requests)}
		change(s)
		all = append(all, s)
	}
	denies := func(text string) func(*subject) {
		return func(s *subject) { s.target.Counted, s.target.Denied = text, rig.DenyShare }
	}

	requests, err := opaQueries(some)
	add("", opaName, r.opaServer, requests, err, denies(`"reason"`))
	if o.has("A") {
		requests, err = evaluations(some)
		add("", bareName, r.bare, requests, err, func(*subject) {})
		add("A", "decision only, facts in the request", r.sqlite, requests, err, denies(`"allowed":false`))
		requests, err = evaluationBatches(some, batchSize)
		add("A batch", fmt.Sprintf("the same, %d in a request", batchSize), r.sqlite, requests, err, func(s *subject) {
			denies(`"allowed":false`)(s)
			s.target.Each = batchSize
		})
	}
	if o.has("B") {
		requests, err = rig.Reviews(some)
		add("B", "full review on Postgres, durable", r.postgres, requests, err, func(s *subject) {
			denies(`"allowed":false`)(s)
			s.target.watch = r.database.Postmaster
		})
	}
	if o.has("C") {
		requests, err = rig.Reviews(some)
		add("C", "full review on SQLite, durable", r.sqlite, requests, err, denies(`"allowed":false`))
	}
	if o.has("D") {
		requests, err = rig.Reviews(rig.Failing(failingWorkspaces))
		add("D", "denies with effect on Postgres, durable", r.postgres, requests, err, func(s *subject) {
			s.target.Counted, s.target.Once, s.target.watch = `"marked_failed":true`, true, r.database.Postmaster
			s.target.Denied = func(decisions int64) int64 { return decisions }
			s.before = r.unmark
		})
	}
	return all, failed
}

// compareServers measures every server twice in a round. Each round begins with another one.
func (rep *report) compareServers(ctx context.Context, r *servers) error {
	o, subjects := rep.options, rep.subjects
	for _, s := range subjects { // to warm up
		_, err := s.run(ctx, o.self, o.seconds/2)
		if err != nil {
			return err
		}
	}
	for round := range o.rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)]
			err := rep.measureSubject(ctx, r, s)
			if err != nil {
				return err
			}
			last := s.samples[round]
			o.progress("round %d: %-45s %7.0f/s  p99 %6.2f ms  %v + %v CPU", round+1, s.name, last.PerSecond,
				rig.Milliseconds(last.P99), last.ServerCPU, last.DatabaseCPU)
		}
	}
	return nil
}

func (s *subject) run(ctx context.Context, self string, seconds float64) (sample, error) {
	if s.before != nil {
		err := s.before(ctx)
		if err != nil {
			return sample{}, err
		}
	}
	return s.target.measure(ctx, self, seconds)
}

// measureSubject puts one server under both kinds of load generator.
func (rep *report) measureSubject(ctx context.Context, r *servers, s *subject) error {
	o := rep.options
	run := func() (sample, error) { return s.run(ctx, o.self, o.seconds) }
	measured, err := rep.take(ctx, r, s, run)
	if err != nil {
		return err
	}
	s.samples = append(s.samples, measured)
	turning := *s
	turning.target.TakeTurns = true
	measured, err = turning.run(ctx, o.self, o.seconds)
	s.turns = append(s.turns, measured)
	return err
}

// take does one run, and of row B notes memory and where the time goes.
func (rep *report) take(ctx context.Context, r *servers, s *subject, run func() (sample, error)) (sample, error) {
	if s.row != "B" {
		return run()
	}
	measured, parts, err := watchReviews(ctx, r.postgres, run)
	if err != nil {
		return sample{}, err
	}
	used, err := rig.Resident(r.postgres.PID())
	rep.breakdowns, rep.memory = append(rep.breakdowns, parts), append(rep.memory, used)
	return measured, err
}

func (o options) progress(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

// scaled is row F with one thing varied: what it was, and the samples at each value.
type scaled struct {
	at      int
	samples []sample
}

// asked are as many workspaces as are asked for, whatever number is stored.
const asked = 1_000

// varyWorkspaces cannot go back and forth, so it asks before and after, each time for workspaces from all over.
func (o options) varyWorkspaces(ctx context.Context, r *servers) ([]scaled, error) {
	var results []scaled
	stored := 0
	for _, count := range []int{asked, o.workspaces} {
		err := r.grow(ctx, stored, count)
		if err != nil {
			return nil, err
		}
		stored = count
		requests, err := rig.Reviews(rig.Spread(asked, count))
		if err != nil {
			return nil, err
		}
		one := scaled{at: count}
		t := newTarget(r.postgres, requests)
		t.watch = r.database.Postmaster
		for range o.rounds + 1 {
			measured, err := t.measure(ctx, o.self, o.seconds/2)
			if err != nil {
				return nil, err
			}
			one.samples = append(one.samples, measured)
			o.progress("%7d workspaces: %7.0f/s  p99 %6.2f ms  %v + %v CPU", count, measured.PerSecond,
				rig.Milliseconds(measured.P99), measured.ServerCPU, measured.DatabaseCPU)
		}
		one.samples = one.samples[1:] // a warm-up, of the database's memory above all
		results = append(results, one)
	}
	return results, nil
}

func (o options) startTimes(ctx context.Context, r *servers) ([]float64, error) {
	var all []float64
	for i := range o.rounds {
		took, err := r.startTime(ctx, fmt.Sprintf("start-%d", i))
		if err != nil {
			return nil, err
		}
		all = append(all, rig.Milliseconds(took))
	}
	return all, nil
}
