//go:build linux

package compare

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// connectionCounts are those of the table of callers, and of row F.
var connectionCounts = []int{1, 4, 16, 64, 256}

// recording are the rows of the table of callers, beside OPA.
var recording = []string{"B", "C", "D"}

// crowd is a subject with ever more connections.
type crowd struct {
	subject *subject
	scaled  []scaled // in the order of connectionCounts
}

// varyConnections puts OPA and the rows that record under as many connections, one after the other in each round.
func (o options) varyConnections(ctx context.Context, subjects []*subject) ([]crowd, error) {
	var crowds []crowd
	for _, s := range subjects {
		if s.name == opaName || slices.Contains(recording, s.row) {
			crowds = append(crowds, crowd{s, make([]scaled, len(connectionCounts))})
		}
	}
	for range o.rounds {
		for i, count := range connectionCounts {
			for _, c := range crowds {
				measured, err := c.subject.with(count).run(ctx, o.self, o.seconds/2)
				if err != nil {
					return nil, err
				}
				c.scaled[i].at, c.scaled[i].samples = count, append(c.scaled[i].samples, measured)
				o.progress("%3d connections: %-45s %7.0f/s  p99 %6.2f ms", count, c.subject.name, measured.PerSecond, rig.Milliseconds(measured.P99))
			}
		}
	}
	return crowds, nil
}

func (s *subject) with(connections int) *subject {
	crowded := *s
	crowded.target.Connections = connections
	return &crowded
}

// find gives what was measured of a row, nil if it was not.
func find(crowds []crowd, is func(*subject) bool) []scaled {
	for _, c := range crowds {
		if is(c.subject) {
			return c.scaled
		}
	}
	return nil
}

// writeCrowds is the table of what more and fewer callers change.
func (rep report) writeCrowds(b *strings.Builder) {
	opa := find(rep.crowds, func(s *subject) bool { return s.name == opaName })
	if opa == nil {
		return
	}
	_, _ = fmt.Fprint(b, "\nWith fewer callers and with more, decisions a second and p99, in brackets those of `opa run` with as many:\n\n| connections |")
	for _, c := range rep.crowds {
		_, _ = fmt.Fprintf(b, " %s |", c.title())
	}
	_, _ = fmt.Fprintf(b, "\n|%s\n", strings.Repeat("---|", len(rep.crowds)+1))
	for i, count := range connectionCounts {
		_, _ = fmt.Fprintf(b, "| %d |", count)
		for _, c := range rep.crowds {
			_, _ = fmt.Fprintf(b, " %s |", beside(c.scaled[i], opa[i]))
		}
		_, _ = fmt.Fprintln(b)
	}
}

func (c crowd) title() string {
	if c.subject.row == "" {
		return "`opa run`"
	}
	return c.subject.row
}

func beside(ours, opa scaled) string {
	rate, p99 := rates(ours), ms(ours.samples, p99Of)
	if &ours.samples[0] == &opa.samples[0] {
		return fmt.Sprintf("%s/s, %s", rig.Thousands(rate), p99)
	}
	return fmt.Sprintf("%s/s (%.2f ×), %s (%.2f ×)", rig.Thousands(rate), paired(ours.samples, opa.samples, perSecondOf),
		p99, paired(ours.samples, opa.samples, nanosecondsOf))
}
