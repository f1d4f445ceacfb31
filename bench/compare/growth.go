package compare

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// goBenchmark is the median of one Go benchmark.
type goBenchmark struct {
	name        string
	microsecond float64
	allocations float64
}

// runGoBenchmarks are rows E and F of evaluations.
func (c *Command) runGoBenchmarks(ctx context.Context, m *measurement) (err error) {
	if c.has("E") {
		m.policies, err = c.goBenchmarks(ctx, "^BenchmarkEvaluate$")
	}
	if err == nil && c.has("F") {
		m.rules, err = c.goBenchmarks(ctx, "^BenchmarkRules$/^rules=(10|100|1000)$/^deny$")
	}
	return err
}

func (c *Command) goBenchmarks(ctx context.Context, pattern string) ([]goBenchmark, error) {
	const folder = "./adapters/opa/snapshot"
	said, err := rig.Command(ctx, c.Repository,
		"go", "test", folder, "-run", "^$", "-bench", pattern, "-benchmem", "-benchtime", "0.5s", "-count", strconv.Itoa(c.Rounds))
	if err != nil {
		return nil, fmt.Errorf("go test %s: %w: %s", folder, err, said)
	}
	all := readBenchmarks(said)
	if len(all) == 0 {
		return nil, fmt.Errorf("go test %s has no benchmark %s: %s", folder, pattern, said)
	}
	return all, nil
}

// readBenchmarks takes the lines of `go test -bench -benchmem` apart.
func readBenchmarks(said string) []goBenchmark {
	line := regexp.MustCompile(`(?m)^Benchmark[^/\s]*/(\S+)-\d+\s+\d+\s+([\d.]+) ns/op\s+\d+ B/op\s+(\d+) allocs/op`)
	var names []string
	times, allocations := make(map[string][]float64), make(map[string][]float64)
	for _, found := range line.FindAllStringSubmatch(said, -1) {
		name := found[1]
		if times[name] == nil {
			names = append(names, name)
		}
		nanoseconds, _ := strconv.ParseFloat(found[2], 64) // digits
		count, _ := strconv.ParseFloat(found[3], 64)
		times[name], allocations[name] = append(times[name], nanoseconds/1000), append(allocations[name], count)
	}
	all := make([]goBenchmark, len(names))
	for i, name := range names {
		all[i] = goBenchmark{name, rig.Median(times[name]), rig.Median(allocations[name])}
	}
	return all
}

// asked are as many workspaces as are asked for, whatever number is stored.
const asked = 1_000

// growDatabase cannot go back and forth, so it asks before and after, each time for workspaces from all over.
func (c *Command) growDatabase(ctx context.Context, s *servers) ([]*rig.Subject, error) {
	var all []*rig.Subject
	stored := 0
	for _, count := range []int{asked, c.Workspaces} {
		err := s.grow(ctx, stored, count)
		if err != nil {
			return nil, err
		}
		stored = count
		file, err := s.WriteRequests(fmt.Sprintf("spread-%d", count), rig.Each(rig.Spread(asked, count), rig.Review))
		if err != nil {
			return nil, err
		}
		one := &rig.Subject{
			Name: rig.Thousands(float64(count)) + " workspaces", Address: s.postgres.Address, Servers: []*rig.Process{s.postgres}, Database: s.database,
			Load: rig.Load{Path: rig.ReviewPath, Requests: file, Connections: usual, Each: 1, NoneDenied: true, Denied: `"allowed":false`},
		}
		err = s.Rounds(ctx, rig.Options{Rounds: c.Rounds, Seconds: 1}, []*rig.Subject{one})
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

// grow makes the workspaces of rig.Spread, from the first to n.
func (s *servers) grow(ctx context.Context, from, n int) error {
	_, err := s.database.Exec(ctx, `
		with made as (
			insert into workspaces (id, name, tier, runtime)
			select ('01890a5d-ac96-774b-8000-' || lpad(to_hex($1::bigint + i), 12, '0'))::uuid, 'agent', 1, 'hermes'
			from generate_series($2::bigint, $3::bigint - 1) i
			returning id
		)
		insert into workspace_secrets (workspace_id, key, encrypted_value) select id, 'MODEL', 'sealed' from made`,
		rig.ManyFrom, from, n)
	if err == nil {
		_, err = s.database.Exec(ctx, "vacuum analyze workspaces, workspace_secrets")
	}
	if err != nil {
		return fmt.Errorf("making %d workspaces: %w", n-from, err)
	}
	return nil
}

// startTimes are milliseconds from the start to the first ready answer, with the embedded policies and a new file.
func (c *Command) startTimes(ctx context.Context, s *servers) ([]float64, error) {
	var all []float64
	for i := range c.Rounds {
		name := fmt.Sprintf("start-%d", i)
		began := time.Now()
		p, err := s.Start(ctx, name, "/readyz", func(address string) []string {
			return []string{
				c.Gatehouse, "serve", "--listen", address, "--shutdown-delay", "0s", "--database-url", "sqlite:" + filepath.Join(s.Folder, name+".db"),
			}
		})
		if err != nil {
			return nil, err
		}
		all = append(all, rig.Milliseconds(time.Since(began)))
		err = p.Stop()
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// memory is what a new Gatehouse on Postgres holds after reviews with the usual number of connections.
func (c *Command) memory(ctx context.Context, s *servers, reviews *rig.Subject) (float64, error) {
	p, err := s.Serve(ctx, "gatehouse-memory", c.Options, s.database.URL)
	if err != nil {
		return 0, err
	}
	one := *reviews
	one.Address, one.Servers, one.Samples = p.Address, []*rig.Process{p}, nil
	err = s.Rounds(ctx, rig.Options{Rounds: 1, Seconds: 2 * c.Seconds}, []*rig.Subject{&one})
	if err != nil {
		return 0, err
	}
	used, err := p.Resident()
	return used, errors.Join(err, p.Stop())
}
