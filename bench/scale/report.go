package scale

import (
	"fmt"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

func (m *measurement) write(page *rig.Page) {
	m.writeSetups(page)
	m.writeDatabase(page)
	uids := constantsOf(m.uids)
	page.Say("\nWith a uid in each, %s at %d connections answers %s/s, p50 %.2f ms, p99 %.2f ms. A review then takes %s of the replica, %s of Postgres, "+
		"%.2f round trips and %s B of WAL.\n", m.uids.Name, m.uids.Connections, rig.Thousands(m.uids.Of(rig.Rate)), m.uids.Of(rig.P50), m.uids.Of(rig.P99),
		microseconds(uids.Replica), microseconds(uids.Database), uids.Trips, rig.Thousands(uids.WAL))
	page.Say("\nWithout a review, %d replicas have %d connections of Postgres' %d and use %.1f %% of a core, Postgres %.1f %%. "+
		"After the rounds a replica holds %.0f MiB.\n",
		len(m.memory), m.connections, m.limit, 100*m.idleReplicas, 100*m.idleDatabase, rig.Median(m.memory))
	m.writeModel(page)
}

func (m *measurement) writeSetups(page *rig.Page) {
	page.Table("setup", "connections", "reviews/s", "× no proxy", "p50", "p99", "replicas", "nginx", "Postgres")
	for _, s := range m.setups {
		c := constantsOf(s.Subject)
		proxy := "-"
		if s.Proxy != nil {
			proxy = microseconds(c.Proxy)
		}
		page.Row(s.Name, fmt.Sprint(s.Connections), rig.Thousands(s.Of(rig.Rate)), fmt.Sprintf("%.2f", s.Against(m.baseline(s), rig.Rate)),
			fmt.Sprintf("%.2f ms", s.Of(rig.P50)), fmt.Sprintf("%.2f ms", s.Of(rig.P99)), microseconds(c.Replica), proxy, microseconds(c.Database))
	}
}

// baseline is the setup with as many connections and no proxy.
func (m *measurement) baseline(of setup) *rig.Subject {
	for _, s := range m.setups {
		if s.Proxy == nil && s.Connections == of.Connections {
			return s.Subject
		}
	}
	return of.Subject
}

func (m *measurement) writeDatabase(page *rig.Page) {
	page.Say("\nWhat a review costs Postgres:\n")
	page.Table("setup", "connections", "reviews in a commit", "round trips", "commits", "WAL")
	for _, s := range m.setups {
		c := constantsOf(s.Subject)
		page.Row(s.Name, fmt.Sprint(s.Connections), fmt.Sprintf("%.1f", 1/c.Commits), fmt.Sprintf("%.3f", c.Trips), fmt.Sprintf("%.3f", c.Commits),
			rig.Thousands(c.WAL)+" B")
	}
}

// ends are the two setups that the model takes its constants from: one replica that has much to do, and so much to
// share, and the most replicas, each of which has little.
func (m *measurement) ends() (busy, thin setup) {
	few, most := poolSizes()[0], poolSizes()[len(poolSizes())-1]
	for _, s := range m.setups {
		switch {
		case s.Proxy == nil:
		case s.replicas == few && s.Connections == connectionCounts()[1]:
			busy = s
		case s.replicas == most && s.Connections == connectionCounts()[0]:
			thin = s
		}
	}
	return busy, thin
}

func (m *measurement) writeModel(page *rig.Page) {
	busySetup, thinSetup := m.ends()
	busy, thin := constantsOf(busySetup.Subject), constantsOf(thinSetup.Subject)
	page.Say("\nThe constants, at both ends: **busy** is %q at %d connections, **thin** is %q at %d.\n",
		busySetup.Name, busySetup.Connections, thinSetup.Name, thinSetup.Connections)
	row := func(what string, of func(constants) string) { page.Row(what, of(busy), of(thin)) }
	page.Table("constant", "busy", "thin")
	row("g: processor time of the replicas", func(c constants) string { return microseconds(c.Replica) })
	row("p: processor time of Postgres", func(c constants) string { return microseconds(c.Database) })
	row("n: processor time of nginx", func(c constants) string { return microseconds(c.Proxy) })
	row("w: bytes of WAL", func(c constants) string { return rig.Thousands(c.WAL) })
	row("c: commits", func(c constants) string { return fmt.Sprintf("%.3f", c.Commits) })
	page.Say("\nReviews a second that use up one Postgres of k cores, k / p, and the WAL that they make:\n")
	page.Table("k", "busy", "thin")
	for _, cores := range []float64{4, 16, 64} {
		row(fmt.Sprintf("%.0f", cores), func(c constants) string {
			most := cores / c.Database
			return fmt.Sprintf("%s, %s MB/s", twoDigits(most), twoDigits(most*c.WAL/bytesInMB))
		})
	}
	writeExample(page, busy, thin)
}

// writeExample works the model out for two loads.
func writeExample(page *rig.Page, busy, thin constants) {
	var needs []need
	columns := []string{""}
	for _, load := range []float64{10_000, 50_000} {
		columns = append(columns, fmt.Sprintf("X = %s, busy", rig.Thousands(load)), fmt.Sprintf("X = %s, thin", rig.Thousands(load)))
		needs = append(needs, busy.need(load), thin.need(load))
	}
	page.Say("\nWorked out for X reviews a second:\n")
	page.Table(columns...)
	row := func(what string, of func(need) string) {
		cells := []string{what}
		for _, n := range needs {
			cells = append(cells, of(n))
		}
		page.Row(cells...)
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
