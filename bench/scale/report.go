//go:build linux

package scale

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

func (m measurement) markdown() string {
	var b strings.Builder
	o := m.options
	_, _ = fmt.Fprintf(&b, "Measured %s in %s by `make scale` at %s: %d cores (%s, shared by the replicas, Postgres, nginx and the load generator), "+
		"%s of memory, Linux %s, %s, PostgreSQL %s that syncs, %s. The load average was %s, and writing 8 kB and syncing them took %.1f ms. "+
		"Medians of %d rounds of %.1f s for each line.\n",
		time.Now().UTC().Format(time.DateOnly), m.took.Round(time.Second), m.machine.Commit, runtime.NumCPU(), m.machine.Processor,
		m.machine.Memory, m.machine.Kernel, runtime.Version(), m.postgres, strings.TrimPrefix(m.nginx, "nginx version: "),
		m.machine.Load, rig.Milliseconds(m.sync), o.rounds, o.seconds)
	m.writeSetups(&b)
	m.writeDatabase(&b)
	m.writeUIDs(&b)
	m.writeIdle(&b)
	m.writeModel(&b)
	return b.String()
}

func (m measurement) writeSetups(b io.Writer) {
	_, _ = fmt.Fprint(b, "\n| setup | connections | reviews/s | × no proxy | p50 | p99 | replicas | nginx | Postgres |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, s := range m.setups {
		c := s.constants()
		proxy := "-"
		if s.proxied {
			proxy = microseconds(c.Proxy)
		}
		_, _ = fmt.Fprintf(b, "| %s | %d | %s | %.2f | %s | %s | %s | %s | %s |\n", s.name, s.connections, rig.Thousands(s.perSecond()),
			s.against(m.baseline(s)), s.ms(func(one sample) time.Duration { return one.P50 }),
			s.ms(func(one sample) time.Duration { return one.P99 }), microseconds(c.Replica), proxy, microseconds(c.Database))
	}
}

func (m measurement) writeDatabase(b io.Writer) {
	_, _ = fmt.Fprint(b, "\nWhat a review costs Postgres:\n\n| setup | connections | reviews in a commit | round trips | commits | syncs | "+
		"transactions, with those that only read | WAL |\n|---|---|---|---|---|---|---|---|\n")
	for _, s := range m.setups {
		c := s.constants()
		_, _ = fmt.Fprintf(b, "| %s | %d | %.1f | %.3f | %.3f | %.3f | %.3f | %s B |\n", s.name, s.connections, 1/c.Commits, c.Trips, c.Commits,
			c.Syncs, s.settled.Transactions, rig.Thousands(c.WAL))
	}
}

func (m measurement) writeUIDs(b io.Writer) {
	s, c := m.uids, m.uids.constants()
	_, _ = fmt.Fprintf(b, "\nWith a uid in each, %s at %d connections answers %s/s, p50 %s, p99 %s. A review then takes %s of the replica, %s of Postgres, "+
		"%.2f round trips and %s B of WAL.\n", s.name, s.connections, rig.Thousands(s.perSecond()),
		s.ms(func(one sample) time.Duration { return one.P50 }), s.ms(func(one sample) time.Duration { return one.P99 }),
		microseconds(c.Replica), microseconds(c.Database), c.Trips, rig.Thousands(c.WAL))
}

func (m measurement) writeIdle(b io.Writer) {
	_, _ = fmt.Fprintf(b, "\nWithout a review, %d replicas have %d connections of Postgres' %d and use %.1f %% of a core, Postgres %.1f %%. "+
		"After the rounds a replica holds %.0f MiB.\n",
		len(m.memory), m.idle.Connections, m.limit, 100*m.idle.Replicas, 100*m.idle.Database, rig.Median(m.memory))
}

// ends are the two setups that the model takes its constants from: replicas that have much to do, and so much to
// share, and replicas that have little.
func (m measurement) ends() (busy, thin *setup) {
	busy, thin = m.setups[0], m.setups[0]
	for _, s := range m.setups {
		if s.proxied && s.replicas == poolSizes[0] && s.connections == connectionCounts[len(connectionCounts)-1] {
			busy = s
		}
		if s.proxied && s.replicas == poolSizes[len(poolSizes)-1] && s.connections == connectionCounts[0] {
			thin = s
		}
	}
	return busy, thin
}

func (m measurement) writeModel(b io.Writer) {
	busySetup, thinSetup := m.ends()
	busy, thin := busySetup.constants(), thinSetup.constants()
	replica, database := lines(m.setups)
	_, _ = fmt.Fprintf(b, "\nOver all lines, a review takes a replica %s and %s for each round trip, and Postgres %s and %s "+
		"(least squares; the line that is furthest off is so by %.0f %% and %.0f %%).\n",
		microseconds(replica.Review), microseconds(replica.Trip), microseconds(database.Review), microseconds(database.Trip),
		100*replica.Off, 100*database.Off)

	_, _ = fmt.Fprintf(b, "\nThe constants, at both ends: **busy** is %q at %d connections, **thin** is %q at %d.\n\n| constant | busy | thin |\n|---|---|---|\n",
		busySetup.name, busySetup.connections, thinSetup.name, thinSetup.connections)
	row := func(what string, of func(constants) string) {
		_, _ = fmt.Fprintf(b, "| %s | %s | %s |\n", what, of(busy), of(thin))
	}
	row("g: processor time of the replicas", func(c constants) string { return microseconds(c.Replica) })
	row("p: processor time of Postgres", func(c constants) string { return microseconds(c.Database) })
	row("n: processor time of nginx", func(c constants) string { return microseconds(c.Proxy) })
	row("w: bytes of WAL", func(c constants) string { return rig.Thousands(c.WAL) })
	row("c: commits", func(c constants) string { return fmt.Sprintf("%.3f", c.Commits) })
	row("s: syncs", func(c constants) string { return fmt.Sprintf("%.3f", c.Syncs) })

	_, _ = fmt.Fprint(b, "\nReviews a second that use up one Postgres of k cores, k / p, and the WAL that they make:\n\n| k | busy | thin |\n|---|---|---|\n")
	for _, cores := range []float64{4, 16, 64} {
		row(fmt.Sprintf("%.0f", cores), func(c constants) string {
			most := c.saturation(cores)
			return fmt.Sprintf("%s, %s MB/s", twoDigits(most), twoDigits(most*c.WAL/bytesInMB))
		})
	}
	m.writeExample(b, busy, thin)
}

// exampleLoads are the reviews a second of the worked example.
var exampleLoads = []float64{10_000, 50_000}

func (m measurement) writeExample(b io.Writer, busy, thin constants) {
	var needs []need
	_, _ = fmt.Fprint(b, "\nWorked out for X reviews a second:\n\n| |")
	for _, load := range exampleLoads {
		_, _ = fmt.Fprintf(b, " X = %s, busy | X = %s, thin |", rig.Thousands(load), rig.Thousands(load))
		needs = append(needs, busy.need(load), thin.need(load))
	}
	_, _ = fmt.Fprintf(b, "\n|---|%s\n", strings.Repeat("---|", len(needs)))
	row := func(what string, of func(need) string) {
		_, _ = fmt.Fprintf(b, "| %s |", what)
		for _, n := range needs {
			_, _ = fmt.Fprintf(b, " %s |", of(n))
		}
		_, _ = fmt.Fprintln(b)
	}
	row("cores of the replicas, X · g", func(n need) string { return fmt.Sprintf("%.1f", n.ReplicaCores) })
	row(fmt.Sprintf("replicas of %d cores, X · g / %d", replicaCores, replicaCores), func(n need) string { return fmt.Sprint(n.Replicas) })
	row(fmt.Sprintf("their connections, %d + %d each", replicaConns, replicaAside), func(n need) string { return fmt.Sprint(n.Connections) })
	row("cores of nginx, X · n", func(n need) string { return fmt.Sprintf("%.1f", n.ProxyCores) })
	row("cores of Postgres, X · p", func(n need) string { return fmt.Sprintf("%.1f", n.DatabaseCores) })
	row("WAL, X · w", func(n need) string {
		return fmt.Sprintf("%.0f MB/s, %.1f TB a day", n.WALPerSecond/bytesInMB, n.WALPerDay/bytesInTB)
	})
	row("commits a second, X · c", func(n need) string { return twoDigits(n.Commits) })
	row("syncs a second, X · s", func(n need) string { return twoDigits(n.Syncs) })
}

// baseline is the setup with as many connections and no proxy.
func (m measurement) baseline(of *setup) *setup {
	for _, s := range m.setups {
		if !s.proxied && s.connections == of.connections {
			return s
		}
	}
	return of
}

func (s *setup) perSecond() float64 {
	return rig.MedianOf(s.samples, func(one sample) float64 { return one.PerSecond })
}

// against is the median of the ratios round by round: what the machine did in a round divides out.
func (s *setup) against(baseline *setup) float64 {
	ratios := make([]float64, len(s.samples))
	for i, one := range s.samples {
		ratios[i] = one.PerSecond / baseline.samples[i].PerSecond
	}
	return rig.Median(ratios)
}

func (s *setup) ms(of func(sample) time.Duration) string {
	return fmt.Sprintf("%.2f ms", rig.MedianOf(s.samples, func(one sample) float64 { return rig.Milliseconds(of(one)) }))
}

func microseconds(seconds float64) string { return fmt.Sprintf("%.0f µs", 1e6*seconds) }

// twoDigits is for what no measurement here knows better.
func twoDigits(value float64) string {
	unit := 1.0
	for value/unit >= 100 {
		unit *= 10
	}
	return rig.Thousands(unit * float64(int(value/unit+0.5)))
}
