package rig

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"
)

// Subject is a server, or several that serve together, under a load.
type Subject struct {
	Row, Name string
	Address   string
	Load
	Servers  []*Process
	Proxy    *Process                        // in front of them; nil for none
	Database *Postgres                       // below them; nil for none
	Scraped  bool                            // they are Gatehouses, whose metrics are read
	Before   func(ctx context.Context) error // makes a run ready; nil for nothing
	Samples  []Sample                        // one a round
}

// Sample is one run. All but the result is of one decision.
type Sample struct {
	Result
	Server, Proxy, Database time.Duration // processor time: of the servers together, of the proxy, of Postgres
	Commits, WAL            float64       // transactions that wrote, and their bytes
	Series                  map[string]float64
}

// counters are what a run changes.
type counters struct {
	server, proxy, database time.Duration
	commits, wal            int64
	series                  map[string]float64 // sums over the servers
}

func (s *Subject) read(ctx context.Context) (n counters, err error) {
	n.series = make(map[string]float64)
	for _, server := range s.Servers {
		stat, err := server.stat()
		if err != nil {
			return n, err
		}
		n.server += time.Duration(stat.UTime+stat.STime) * tick
		if s.Scraped {
			err = server.scrape(ctx, n.series)
		}
		if err != nil {
			return n, fmt.Errorf("reading metrics of %s: %w", server.Name, err)
		}
	}
	if s.Proxy != nil {
		n.proxy, err = treeTime(s.Proxy.command.Process.Pid)
	}
	if err == nil && s.Database != nil {
		err = s.Database.read(ctx, &n)
	}
	return n, err
}

// scrape adds what a server counts.
func (p *Process) scrape(ctx context.Context, into map[string]float64) error {
	text, err := get(ctx, "http://"+p.Address+"/metrics")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, value, found := cutLast(strings.TrimSpace(line))
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return fmt.Errorf("the line %q: %w", line, err)
		}
		into[name] += number
	}
	return nil
}

func cutLast(line string) (before, after string, found bool) {
	at := strings.LastIndexByte(line, ' ')
	if at < 0 {
		return "", "", false
	}
	return line[:at], line[at+1:], true
}

// Run puts a subject under its load.
func (r *Rig) Run(ctx context.Context, s *Subject, seconds int) (Sample, error) {
	if s.Before != nil {
		err := s.Before(ctx)
		if err != nil {
			return Sample{}, err
		}
	}
	before, err := s.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	result, err := r.send(ctx, s.Address, s.Load, seconds)
	if err != nil {
		return Sample{}, fmt.Errorf("load on %s: %w", s.Name, err)
	}
	after, err := s.read(ctx)
	if err != nil {
		return Sample{}, err
	}
	return before.until(after, result), nil
}

// until is what each decision between two readings took.
func (n counters) until(after counters, result Result) Sample {
	each := time.Duration(result.Decisions)
	series := maps.Clone(after.series)
	for name := range series {
		series[name] -= n.series[name]
	}
	return Sample{
		Result: result, Series: series,
		Server: (after.server - n.server) / each, Proxy: (after.proxy - n.proxy) / each, Database: (after.database - n.database) / each,
		Commits: float64(after.commits-n.commits) / float64(each), WAL: float64(after.wal-n.wal) / float64(each),
	}
}

// Rounds measures every subject once a round, after a second to warm up. Each round begins with another one, so that
// what else the machine does hits all of them.
func (r *Rig) Rounds(ctx context.Context, o Options, subjects []*Subject) error {
	for _, s := range subjects {
		_, err := r.Run(ctx, s, 1)
		if err != nil {
			return err
		}
	}
	for round := range o.Rounds {
		for i := range subjects {
			s := subjects[(i+round)%len(subjects)]
			one, err := r.Run(ctx, s, o.Seconds)
			if err != nil {
				return err
			}
			s.Samples = append(s.Samples, one)
			Progress("round %d: %-46s %3d connections %7.0f/s  p99 %7.2f ms  %v + %v + %v CPU", round+1, s.Name, s.Connections,
				one.PerSecond, Milliseconds(one.P99), one.Server, one.Proxy, one.Database)
		}
	}
	return nil
}

// Idle is what the subject uses without a load, in processor time a second.
func (s *Subject) Idle(ctx context.Context, length time.Duration) (server, database float64, err error) {
	before, err := s.read(ctx)
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(length):
	}
	after, err := s.read(ctx)
	return (after.server - before.server).Seconds() / length.Seconds(), (after.database - before.database).Seconds() / length.Seconds(), err
}

// Of is the median over the rounds.
func (s *Subject) Of(what func(Sample) float64) float64 {
	values := make([]float64, len(s.Samples))
	for i, one := range s.Samples {
		values[i] = what(one)
	}
	return Median(values)
}

// Against is the median of the ratios round by round: what the machine did in a round divides out.
func (s *Subject) Against(baseline *Subject, what func(Sample) float64) float64 {
	ratios := make([]float64, len(s.Samples))
	for i, one := range s.Samples {
		ratios[i] = what(one) / what(baseline.Samples[i])
	}
	return Median(ratios)
}

// What tables say of a sample. Times of requests are in milliseconds, processor times in microseconds.
func Rate(x Sample) float64        { return x.PerSecond }
func P50(x Sample) float64         { return Milliseconds(x.P50) }
func P99(x Sample) float64         { return Milliseconds(x.P99) }
func ServerCPU(x Sample) float64   { return 1000 * Milliseconds(x.Server) }
func ProxyCPU(x Sample) float64    { return 1000 * Milliseconds(x.Proxy) }
func DatabaseCPU(x Sample) float64 { return 1000 * Milliseconds(x.Database) }
func Commits(x Sample) float64     { return x.Commits }
func WAL(x Sample) float64         { return x.WAL }
