//go:build linux

package compare

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// report is all that one run has measured.
type report struct {
	options    options
	versions   versions
	subjects   []*subject
	memory     []float64 // MiB, in row B
	breakdowns []breakdown
	sync       time.Duration // of the disk
	crowds     []crowd
	workspaces []scaled
	rules      []goBenchmark
	policies   []goBenchmark
	starts     []float64 // ms
	took       time.Duration
}

type versions struct {
	rig.Machine
	opa, postgres string
}

func (o options) compare(ctx context.Context) (rep report, err error) {
	began := time.Now()
	rep.options = o
	if o.has("E") {
		rep.policies, err = o.goBenchmarks(ctx, "./adapters/opa/snapshot", "^BenchmarkEvaluate$")
		if err != nil {
			return rep, err
		}
	}
	if o.has("F") {
		rep.rules, err = o.goBenchmarks(ctx, "./adapters/opa/snapshot", "^BenchmarkRules$/^rules=(10|100|1000)$/^deny$")
		if err != nil {
			return rep, err
		}
	}
	r, err := startServers(ctx, o.programs)
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	rep.versions, err = o.readVersions(ctx, r)
	if err != nil {
		return rep, err
	}
	err = rep.measure(ctx, r)
	rep.took = time.Since(began)
	return rep, err
}

func (rep *report) measure(ctx context.Context, r *servers) (err error) {
	o := rep.options
	rep.sync, err = rig.SyncTime(r.Folder)
	if err != nil {
		return err
	}
	rep.subjects, err = r.subjects(o)
	if err != nil {
		return err
	}
	err = rep.compareServers(ctx, r)
	if err != nil {
		return err
	}
	if o.profiles != "" {
		err = o.profile(ctx, rep.subjects)
		if err != nil {
			return err
		}
	}
	if o.has("G") {
		rep.starts, err = o.startTimes(ctx, r)
		if err != nil {
			return err
		}
	}
	if !o.has("F") {
		return nil
	}
	rep.crowds, err = o.varyConnections(ctx, rep.subjects)
	if err != nil {
		return err
	}
	rep.workspaces, err = o.varyWorkspaces(ctx, r)
	return err
}

// readVersions refuses to compare with another OPA than the one that Gatehouse embeds.
func (o options) readVersions(ctx context.Context, r *servers) (versions, error) {
	var v versions
	said, err := rig.Command(ctx, r.Folder, o.opa, "version")
	if err != nil {
		return v, fmt.Errorf("asking opa for its version: %w", err)
	}
	v.opa = strings.TrimSpace(strings.TrimPrefix(strings.SplitN(said, "\n", 2)[0], "Version:"))
	embedded, err := rig.Command(ctx, o.repository, "go", "list", "-m", "-f", "{{.Version}}", "github.com/open-policy-agent/opa")
	if err != nil {
		return v, fmt.Errorf("asking go.mod for OPA's version: %w", err)
	}
	if embedded != "v"+v.opa {
		return v, fmt.Errorf("%s is OPA %s, and Gatehouse embeds %s: change tools/opa/go.mod", o.opa, v.opa, embedded)
	}
	err = r.database.QueryRow(ctx, "show server_version").Scan(&v.postgres)
	if err != nil {
		return v, err
	}
	v.Machine, err = rig.ReadMachine(ctx, o.repository)
	return v, err
}

func (rep report) markdown() string {
	var b strings.Builder
	o, v := rep.options, rep.versions
	_, _ = fmt.Fprintf(&b, "Measured %s in %s by `make bench` at %s: %d cores (%s, shared with the load generator and Postgres), %s of memory, Linux %s, %s, "+
		"OPA %s, PostgreSQL %s that syncs. The load average was %s, and writing 8 kB and syncing them took %.1f ms before the first round. Medians of %d rounds of %.1f s for each server, %d keep-alive connections. %s\n",
		time.Now().UTC().Format("2006-01-02"), rep.took.Round(time.Second), v.Commit, runtime.NumCPU(), v.Processor, v.Memory, v.Kernel,
		runtime.Version(), v.opa, v.postgres, v.Load, rig.Milliseconds(rep.sync), o.rounds, o.seconds, connections, rep.priority())
	rep.writeServers(&b)
	rep.writeCrowds(&b)
	rep.writeBreakdown(&b)
	rep.writeGrowth(&b)
	return b.String()
}

// priority says whether the load generator waited for the server's cores.
func (rep report) priority() string {
	for _, s := range rep.subjects {
		for _, x := range s.samples {
			if !x.First {
				return "The load generator had no right to come first at the cores, and waited for them as the servers did."
			}
		}
	}
	return "The load generator came first at the cores; what is said in brackets is the same where it took turns with the server, and goals are reached if they are both times."
}

func (rep report) writeServers(b *strings.Builder) {
	_, _ = fmt.Fprint(b, "\n| row | path | decisions/s | p50 | p99 | CPU each (Postgres) | × opa | p99 × opa | goal | |\n|---|---|---|---|---|---|---|---|---|---|\n")
	var baseline subject
	for _, s := range rep.subjects {
		if s.name == opaName {
			baseline = *s
		}
	}
	for _, s := range rep.subjects {
		faster, slower := paired(s.samples, baseline.samples, perSecondOf), paired(s.samples, baseline.samples, nanosecondsOf)
		perSecond := rig.MedianOf(s.samples, perSecondOf)
		cpu := fmt.Sprintf("%.0f µs", rig.MedianOf(s.samples, func(x sample) float64 { return float64(x.ServerCPU) / 1000 }))
		if s.target.watch != 0 {
			cpu += fmt.Sprintf(" (%.0f µs)", rig.MedianOf(s.samples, func(x sample) float64 { return float64(x.DatabaseCPU) / 1000 }))
		}
		want, hasGoal := goals[s.row]
		reached := ""
		if hasGoal {
			// Whether the load generator comes first or takes turns must not decide it.
			reached = mark(want.reachedBy(s.samples, baseline.samples) && want.reachedBy(s.turns, baseline.turns))
		}
		_, _ = fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %.2f (%.2f) | %.2f (%.2f) | %s | %s |\n", s.row, s.name, rig.Thousands(perSecond),
			ms(s.samples, func(x sample) time.Duration { return x.P50 }), ms(s.samples, p99Of),
			cpu, faster, paired(s.turns, baseline.turns, perSecondOf), slower, paired(s.turns, baseline.turns, nanosecondsOf), want.text, reached)
	}
}

// paired is the median of the ratios round by round: what the machine did in a round divides out.
func paired(samples, baseline []sample, of func(sample) float64) float64 {
	ratios := make([]float64, len(samples))
	for i := range samples {
		ratios[i] = of(samples[i]) / of(baseline[i])
	}
	return rig.Median(ratios)
}

func (rep report) writeGrowth(b *strings.Builder) {
	_, _ = fmt.Fprint(b, "\n| row | what | measured | goal | |\n|---|---|---|---|---|\n")
	line := func(row, what, measured, goal string, reached bool) {
		_, _ = fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", row, what, measured, goal, mark(reached))
	}
	for _, one := range rep.policies {
		line("E", "one evaluation of the shipped policies: "+strings.TrimPrefix(one.name, "Evaluate/"),
			fmt.Sprintf("%.1f µs, %.0f allocations", one.microsecond, one.allocations), "25 µs, 120 allocations",
			one.microsecond <= 25 && one.allocations <= 120)
	}
	if n := len(rep.rules); n > 0 {
		var each []string
		for _, one := range rep.rules {
			_, rules, _ := strings.Cut(strings.TrimSuffix(one.name, "/deny"), "=")
			each = append(each, fmt.Sprintf("%.1f µs at %s", one.microsecond, rules))
		}
		ratio := rep.rules[n-1].microsecond / rep.rules[0].microsecond
		line("F", "10 to 1,000 rules, one evaluation in which one fires", fmt.Sprintf("%s: %.2f ×", strings.Join(each, ", "), ratio), "2 ×", ratio <= 2)
	}
	if n := len(rep.workspaces); n > 0 {
		first, last := rates(rep.workspaces[0]), rates(rep.workspaces[n-1])
		line("F", fmt.Sprintf("%s to %s workspaces in Postgres, full review", rig.Thousands(float64(rep.workspaces[0].at)), rig.Thousands(float64(rep.workspaces[n-1].at))),
			fmt.Sprintf("%s/s, then %s/s: %.0f %%", rig.Thousands(first), rig.Thousands(last), 100*last/first), "flat", last/first > 0.9)
	}
	if crowd := find(rep.crowds, func(s *subject) bool { return s.row == "B" }); crowd != nil {
		text, least := keepsUp(crowd)
		line("F", "1 to 256 connections, full review on Postgres", text, "never under 80 % of the best", least >= 0.8)
	}
	if len(rep.starts) > 0 {
		line("G", "from start to ready, embedded policies, new SQLite file", fmt.Sprintf("%.0f ms", rig.Median(rep.starts)), "100 ms", rig.Median(rep.starts) <= 100)
	}
	if len(rep.memory) > 0 {
		line("G", "resident memory while serving B", fmt.Sprintf("%.0f MiB", rig.Median(rep.memory)), "64 MB", rig.Median(rep.memory) < 64e6/(1<<20))
	}
}

func rates(s scaled) float64 { return rig.MedianOf(s.samples, perSecondOf) }

// keepsUp is what throughput falls to with more connections than are best.
func keepsUp(all []scaled) (string, float64) {
	var each []string
	best, least := 0.0, 1.0
	for _, one := range all {
		rate := rates(one)
		each = append(each, fmt.Sprintf("%s/s at %d", rig.Thousands(rate), one.at))
		best = max(best, rate)
		least = min(least, 1.0)
		if rate < best {
			least = min(least, rate/best)
		}
	}
	return fmt.Sprintf("%s: %.0f %%", strings.Join(each, ", "), 100*least), least
}

func mark(reached bool) string {
	if reached {
		return "reached"
	}
	return "**missed**"
}

func ms(samples []sample, of func(sample) time.Duration) string {
	return fmt.Sprintf("%.2f ms", rig.MedianOf(samples, func(x sample) float64 { return rig.Milliseconds(of(x)) }))
}
