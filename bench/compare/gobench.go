//go:build linux

package compare

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// goBenchmark is the median of one Go benchmark.
type goBenchmark struct {
	name        string
	microsecond float64
	allocations float64
}

// goBenchmarks runs benchmarks of a package. They run while no server is under load.
func (o options) goBenchmarks(ctx context.Context, folder, pattern string) ([]goBenchmark, error) {
	said, err := rig.Command(ctx, o.repository,
		"go", "test", folder, "-run", "^$", "-bench", pattern, "-benchmem", "-benchtime", "0.5s", "-count", strconv.Itoa(o.rounds))
	if err != nil {
		return nil, fmt.Errorf("go test %s: %w: %s", folder, err, said)
	}
	return readBenchmarks(said)
}

// readBenchmarks takes the lines of `go test -bench -benchmem` apart.
func readBenchmarks(said string) ([]goBenchmark, error) {
	var names []string
	times, allocations := make(map[string][]float64), make(map[string][]float64)
	for line := range strings.Lines(said) {
		fields := strings.Fields(line)
		if len(fields) < 8 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := fields[0][:max(strings.LastIndexByte(fields[0], '-'), 0)]
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("the line %q of go test: %w", strings.TrimSpace(line), err)
			}
			switch fields[i+1] {
			case "ns/op":
				if times[name] == nil {
					names = append(names, name)
				}
				times[name] = append(times[name], value/1000)
			case "allocs/op":
				allocations[name] = append(allocations[name], value)
			}
		}
	}
	results := make([]goBenchmark, len(names))
	for i, name := range names {
		results[i] = goBenchmark{strings.TrimPrefix(name, "Benchmark"), rig.Median(times[name]), rig.Median(allocations[name])}
	}
	return results, nil
}
