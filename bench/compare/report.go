package compare

import (
	"fmt"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// A goal has ratios to `opa run`: of decisions a second, and of p99; or decisions a second. 0 is for no such goal.
type goal struct {
	text      string
	faster    float64
	p99       float64
	perSecond float64
}

func goals() map[string]goal {
	return map[string]goal{
		"A":       {text: "2.5 ×, half the p99", faster: 2.5, p99: 0.5},
		"A batch": {text: "6 ×", faster: 6},
		"B":       {text: "1.3 ×, the same p99", faster: 1.3, p99: 1},
		"C":       {text: "1.5 ×", faster: 1.5},
		"D":       {text: "5,000/s", perSecond: 5000},
	}
}

func (g goal) reachedBy(s, opa *rig.Subject) bool {
	return s.Against(opa, rig.Rate) >= g.faster && (g.p99 == 0 || s.Against(opa, rig.P99) <= g.p99) && s.Of(rig.Rate) >= g.perSecond
}

func (m *measurement) write(page *rig.Page) {
	m.writePeers(page)
	m.writeServers(page)
	m.writeConnections(page)
	m.writeBreakdown(page)
	m.writeGrowth(page)
}

// writePeers is the table that the page leads with.
func (m *measurement) writePeers(page *rig.Page) {
	page.Say("\nA review, as a multiple of what each of the others does with as many connections (p99: less is better):\n")
	page.Table("row", "connections", "reviews/s", "p99", "× do-it-yourself", "its p99 ×", "× hard-coded", "its p99 ×", "× `opa run`", "its p99 ×")
	for _, row := range []string{"B", "C"} {
		for _, connections := range connectionCounts() {
			s := m.find(row, connections)
			if s == nil {
				continue
			}
			cells := []string{row, fmt.Sprint(connections), rig.Thousands(s.Of(rig.Rate)), ms(s.Of(rig.P99))}
			for _, name := range []string{doItYourselfName, hardCodedName, opaName} {
				peer := m.find(name, connections)
				cells = append(cells, ratio(s.Against(peer, rig.Rate)), ratio(s.Against(peer, rig.P99)))
			}
			page.Row(cells...)
		}
	}
}

func (m *measurement) writeServers(page *rig.Page) {
	page.Say("\nAll of them with %d connections. CPU is of the servers' processes, in brackets of Postgres.\n", usual)
	page.Table("row", "path", "decisions/s", "p50", "p99", "CPU each (Postgres)", "× `opa run`", "its p99 ×", "goal", "")
	opa := m.find(opaName, usual)
	for _, s := range m.subjects {
		if s.Connections != usual {
			continue
		}
		cpu := fmt.Sprintf("%.0f µs", s.Of(rig.ServerCPU))
		if s.Database != nil {
			cpu += fmt.Sprintf(" (%.0f µs)", s.Of(rig.DatabaseCPU))
		}
		want, hasGoal := goals()[s.Row]
		reached := ""
		if hasGoal {
			reached = mark(want.reachedBy(s, opa))
		}
		page.Row(s.Row, s.Name, rig.Thousands(s.Of(rig.Rate)), ms(s.Of(rig.P50)), ms(s.Of(rig.P99)), cpu,
			ratio(s.Against(opa, rig.Rate)), ratio(s.Against(opa, rig.P99)), want.text, reached)
	}
}

func (m *measurement) writeConnections(page *rig.Page) {
	page.Say("\nWith fewer connections and with more, decisions a second and p99:\n")
	columns, names := []string{"connections"}, []string(nil)
	for _, s := range m.subjects {
		if s.Connections == connectionCounts()[0] {
			title, _, _ := strings.Cut(s.Name, " on Postgres")
			title, _, _ = strings.Cut(title, " --server")
			if s.Row != "" {
				title, names = s.Row, append(names, s.Row)
			} else {
				names = append(names, s.Name)
			}
			columns = append(columns, strings.Trim(title, "`"))
		}
	}
	page.Table(columns...)
	for _, connections := range connectionCounts() {
		cells := []string{fmt.Sprint(connections)}
		for _, name := range names {
			s := m.find(name, connections)
			cells = append(cells, fmt.Sprintf("%s/s, %s", rig.Thousands(s.Of(rig.Rate)), ms(s.Of(rig.P99))))
		}
		page.Row(cells...)
	}
}

// writeBreakdown says where the time of a request goes: Gatehouse's own metrics, in the mean of a round.
func (m *measurement) writeBreakdown(page *rig.Page) {
	s := m.find("B", usual)
	if s == nil {
		return
	}
	mean := func(name, labels string) func(rig.Sample) float64 {
		return func(x rig.Sample) float64 {
			return 1000 * x.Series[name+"_sum"+labels] / max(x.Series[name+"_count"+labels], 1)
		}
	}
	stage := func(name string) float64 {
		return s.Of(mean("gatehouse_admission_stage_duration_seconds", fmt.Sprintf(`{stage=%q}`, name)))
	}
	facts, policy, ledger := stage("facts"), stage("policy"), stage("ledger")
	review := s.Of(mean("gatehouse_admission_duration_seconds", `{hook="register"}`))
	request := s.Of(mean("gatehouse_http_request_duration_seconds", `{route="/v1/admission/{hook}"}`))
	all := s.Of(func(x rig.Sample) float64 { return rig.Milliseconds(x.Mean) })
	page.Say("\nWhere the time of one request of row B goes, %d at once, in the mean:\n", usual)
	page.Table("part", "ms", "share")
	row := func(what string, time float64) {
		page.Row(what, fmt.Sprintf("%.3f", time), fmt.Sprintf("%.0f %%", 100*time/all))
	}
	row("facts: waiting for the query under way, the query", facts)
	row("policy: waiting for a turn, the evaluation", policy)
	row("ledger: waiting for the commit under way, the commit", ledger)
	row("the rest of the review: the decision, its masking, metrics, the log line", review-facts-policy-ledger)
	row("the rest of the handler: routing, decoding, encoding", request-review)
	row("outside the handler: net/http, the kernel, waiting for a core", all-request)
	row("what the caller waits", all)
}

func (m *measurement) writeGrowth(page *rig.Page) {
	page.Table("row", "what", "measured", "goal", "")
	line := func(row, what, goal string, reached bool, measured string, values ...any) {
		page.Row(row, what, fmt.Sprintf(measured, values...), goal, mark(reached))
	}
	for _, one := range m.policies {
		line("E", "one evaluation of the shipped policies: "+one.name, "25 µs, 120 allocations",
			one.microsecond <= 25 && one.allocations <= 120, "%.1f µs, %.0f allocations", one.microsecond, one.allocations)
	}
	if n := len(m.rules); n > 0 {
		ratio := m.rules[n-1].microsecond / m.rules[0].microsecond
		line("F", "10 to 1,000 rules, one evaluation in which one fires", "2 ×", ratio <= 2,
			"%.1f µs, then %.1f µs: %.2f ×", m.rules[0].microsecond, m.rules[n-1].microsecond, ratio)
	}
	if len(m.workspaces) == 2 {
		few, many := m.workspaces[0], m.workspaces[1]
		kept := many.Of(rig.Rate) / few.Of(rig.Rate)
		line("F", fmt.Sprintf("%s, then %s in Postgres, full review", few.Name, many.Name), "flat", kept > 0.9,
			"%s/s, then %s/s: %.0f %%", rig.Thousands(few.Of(rig.Rate)), rig.Thousands(many.Of(rig.Rate)), 100*kept)
	}
	if m.find("B", usual) != nil {
		least := m.keepsUp("B")
		line("F", "1 to 256 connections, full review on Postgres", "never under 80 % of the best", least >= 0.8, "%.0f %%", 100*least)
	}
	if m.memory > 0 {
		line("G", "resident memory while serving B", "64 MB", m.memory < 64e6/(1<<20), "%.0f MiB", m.memory)
	}
	if len(m.starts) > 0 {
		start := rig.Median(m.starts)
		line("G", "from start to ready, embedded policies, new SQLite file", "100 ms", start <= 100, "%.0f ms", start)
	}
}

// keepsUp is what the rate falls to with more connections than are best, as a part of the best.
func (m *measurement) keepsUp(row string) float64 {
	best, least := 0.0, 1.0
	for _, connections := range connectionCounts() {
		rate := m.find(row, connections).Of(rig.Rate)
		best = max(best, rate)
		least = min(least, rate/best)
	}
	return least
}

func mark(reached bool) string {
	if reached {
		return "reached"
	}
	return "**missed**"
}

func ms(milliseconds float64) string { return fmt.Sprintf("%.2f ms", milliseconds) }

func ratio(value float64) string { return fmt.Sprintf("%.2f", value) }
