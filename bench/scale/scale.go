// Package scale measures one, two and four replicas of Gatehouse on one durable Postgres, behind nginx, and works out what
// that means for loads that this machine cannot make. Every process is on this machine and on loopback.
package scale

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
	"github.com/molecule-ai/gatehouse/internal/testenv"
)

// Command is what `make scale` leaves at its defaults.
type Command struct{ rig.Options }

// setup is one line of the tables: so many replicas.
type setup struct {
	*rig.Subject
	replicas int
}

// measurement is all that one run has measured.
type measurement struct {
	setups                     []setup
	uids                       *rig.Subject
	memory                     []float64 // MiB of each replica, at the end
	idleReplicas, idleDatabase float64   // processor time a second, of all replicas
	connections, limit         int       // to Postgres: of all idle replicas, and at most
}

// poolSizes are the numbers of replicas that are measured behind nginx.
func poolSizes() []int { return []int{1, 2, 4} }

// connectionCounts are those of the load.
func connectionCounts() []int { return []int{16, 64} }

// Run measures, prints the tables and, with --write, puts them into a page.
func (c *Command) Run(ctx context.Context) (err error) {
	began := time.Now()
	r, err := rig.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	nginx, err := testenv.Program(ctx, "nginx", "nginx-light")
	if err != nil {
		return err
	}
	version, err := rig.Command(ctx, r.Folder, nginx, "-v")
	if err != nil {
		return fmt.Errorf("asking nginx for its version: %w", err)
	}
	database, err := r.StartPostgres(ctx, rig.Mixed())
	if err != nil {
		return err
	}
	m, err := c.measure(ctx, r, database, nginx)
	if err != nil {
		return err
	}
	var postgres string
	err = database.QueryRow(ctx, "select current_setting('server_version'), current_setting('max_connections')::int").Scan(&postgres, &m.limit)
	if err != nil {
		return err
	}
	var page rig.Page
	err = page.Heading(ctx, r, c.Options, "make scale", began, "PostgreSQL "+postgres+" that syncs", strings.TrimPrefix(version, "nginx version: "))
	if err != nil {
		return err
	}
	m.write(&page)
	return page.Publish(c.Write, "make scale")
}

func (c *Command) measure(ctx context.Context, r *rig.Rig, database *rig.Postgres, nginx string) (m measurement, err error) {
	var replicas []*rig.Process
	for i := range poolSizes()[len(poolSizes())-1] {
		replica, err := r.Serve(ctx, fmt.Sprintf("replica-%d", i+1), c.Options, database.URL)
		if err != nil {
			return m, err
		}
		replicas = append(replicas, replica)
	}
	proxy, pools, err := startNginx(ctx, r, nginx, replicas)
	if err != nil {
		return m, err
	}
	requests, err := r.WriteRequests("reviews", rig.Each(rig.Mixed(), rig.Review))
	if err != nil {
		return m, err
	}
	m.setups = setups(replicas, pools, proxy, database, requests)
	err = m.watchIdle(ctx, replicas, database)
	if err != nil {
		return m, err
	}
	var subjects []*rig.Subject
	for _, s := range m.setups {
		subjects = append(subjects, s.Subject)
	}
	busy, _ := m.ends()
	m.uids = c.withUIDs(r, busy)
	err = r.Rounds(ctx, c.Options, append(subjects, m.uids))
	if err != nil {
		return m, err
	}
	for _, replica := range replicas {
		used, err := replica.Resident()
		if err != nil {
			return m, err
		}
		m.memory = append(m.memory, used)
	}
	return m, nil
}

// setups are in the order of the tables: for each number of connections one replica alone, and then the pools.
func setups(replicas []*rig.Process, pools []pool, proxy *rig.Process, database *rig.Postgres, requests string) []setup {
	var all []setup
	add := func(name, address string, n int, proxy *rig.Process, connections int) {
		all = append(all, setup{&rig.Subject{
			Name: name, Address: address, Servers: replicas[:n], Proxy: proxy, Database: database, Scraped: true,
			Load: rig.Load{Path: rig.ReviewPath, Requests: requests, Connections: connections, Each: 1, Denied: `"allowed":false`},
		}, n})
	}
	for _, connections := range connectionCounts() {
		add("1 replica, no proxy", replicas[0].Address, 1, nil, connections)
		for _, p := range pools {
			name := fmt.Sprintf("%d replicas behind nginx", len(p.replicas))
			if len(p.replicas) == 1 {
				name = "1 replica behind nginx"
			}
			add(name, p.listen, len(p.replicas), proxy, connections)
		}
	}
	return all
}

// withUIDs is the setup that replicas with much to do are taken from, with another uid in each review.
func (c *Command) withUIDs(r *rig.Rig, busy setup) *rig.Subject {
	const perSecond = 10_000 // more than a setup here answers
	s, some, run := *busy.Subject, rig.Mixed(), 0
	s.Before = func(context.Context) (err error) {
		run++
		bodies := make([]any, perSecond*c.Seconds)
		for i := range bodies {
			bodies[i] = map[string]any{"uid": fmt.Sprintf("scale-%d-%d", run, i), "workspace": some[i%len(some)].Request()}
		}
		s.Requests, err = r.WriteRequests("uids", bodies)
		return err
	}
	return &s
}

func (m *measurement) watchIdle(ctx context.Context, replicas []*rig.Process, database *rig.Postgres) (err error) {
	const length = 4 * time.Second // enough for /proc's hundredths of a second
	all := &rig.Subject{Servers: replicas, Database: database}
	m.idleReplicas, m.idleDatabase, err = all.Idle(ctx, length)
	if err != nil {
		return err
	}
	return database.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = 'gatehouse'").Scan(&m.connections)
}
