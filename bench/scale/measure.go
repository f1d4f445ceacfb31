//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// sample is one run of one setup. All but the first three are of one review.
type sample struct {
	PerSecond float64
	P50, P99  time.Duration
	Replicas  time.Duration // processor time, of those that served together
	Proxy     time.Duration // likewise, of nginx
	Database  time.Duration // likewise, of all processes of Postgres
	Trips     float64       // round trips to Postgres
	Commits   float64       // transactions that wrote
	WAL       float64       // bytes
}

// counters are what a run changes.
type counters struct {
	replicas, proxy, database time.Duration
	trips                     float64
	xid, wal                  int64
}

// The next transaction's number: every transaction that writes takes one, and one that only reads takes none. Unlike
// the counts in pg_stat_database it is never late.
const countersSQL = `
select pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint`

func (c *cluster) read(ctx context.Context, s *setup) (n counters, err error) {
	for _, replica := range s.serving {
		used, err := rig.CPUTime(replica.PID())
		if err != nil {
			return n, err
		}
		n.replicas += used
		// Whatever a review asks of Postgres is one round trip on a connection that it takes from the pool.
		series, err := rig.Scrape(ctx, replica.Address)
		if err != nil {
			return n, err
		}
		trips, counted := series["gatehouse_postgres_pool_acquires_total"]
		if !counted {
			return n, fmt.Errorf("%s has no metric of its pool's connections", replica.Name)
		}
		n.trips += trips
	}
	if s.proxied {
		n.proxy, err = rig.TreeTime(c.nginx.PID())
		if err != nil {
			return n, err
		}
	}
	err = c.database.QueryRow(ctx, countersSQL).Scan(&n.xid, &n.wal)
	if err != nil {
		return n, fmt.Errorf("reading Postgres' counters: %w", err)
	}
	n.database, err = rig.TreeTime(c.database.Postmaster)
	return n, err
}

func (c *cluster) sample(ctx context.Context, self string, s *setup, seconds float64) (sample, error) {
	before, err := c.read(ctx, s)
	if err != nil {
		return sample{}, err
	}
	result, reviews, err := s.load.Run(ctx, self, seconds)
	if err != nil {
		return sample{}, err
	}
	after, err := c.read(ctx, s)
	if err != nil {
		return sample{}, err
	}
	one := before.sample(after, reviews)
	one.PerSecond, one.P50, one.P99 = float64(reviews)/result.Took.Seconds(), result.P50, result.P99
	return one, nil
}

// sample is what each of so many reviews took.
func (n counters) sample(after counters, reviews int64) sample {
	each := time.Duration(reviews)
	return sample{
		Replicas: (after.replicas - n.replicas) / each,
		Proxy:    (after.proxy - n.proxy) / each,
		Database: (after.database - n.database) / each,
		Trips:    (after.trips - n.trips) / float64(reviews),
		Commits:  float64(after.xid-n.xid) / float64(reviews),
		WAL:      float64(after.wal-n.wal) / float64(reviews),
	}
}

// settled are counts that Postgres' processes report late, and so are read once they have, for one run of each setup.
type settled struct {
	Transactions, Syncs float64 // of one review
}

// After so long without work a process of Postgres 15 or later reports what it has counted (PGSTAT_IDLE_INTERVAL is
// 10 s).
const settling = 10500 * time.Millisecond

const settledSQL = `
select xact_commit, (select wal_sync from pg_stat_wal) from pg_stat_database where datname = current_database()`

// settle waits, and reads them.
func (c *cluster) settle(ctx context.Context) (transactions, syncs int64, err error) {
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(settling):
	}
	err = c.database.QueryRow(ctx, settledSQL).Scan(&transactions, &syncs)
	if err != nil {
		err = fmt.Errorf("reading Postgres' statistics: %w", err)
	}
	return transactions, syncs, err
}

// countSettled runs every setup once more, and waits after each.
func (m *measurement) countSettled(ctx context.Context, c *cluster) error {
	transactions, syncs, err := c.settle(ctx)
	if err != nil {
		return err
	}
	for _, s := range m.setups {
		_, reviews, err := s.load.Run(ctx, m.options.self, m.options.seconds)
		if err != nil {
			return err
		}
		transactionsNow, syncsNow, err := c.settle(ctx)
		if err != nil {
			return err
		}
		s.settled = settled{
			Transactions: float64(transactionsNow-transactions) / float64(reviews), Syncs: float64(syncsNow-syncs) / float64(reviews),
		}
		transactions, syncs = transactionsNow, syncsNow
		progress("%-24s %2d connections: %.3f transactions and %.3f syncs a review", s.name, s.connections,
			s.settled.Transactions, s.settled.Syncs)
	}
	return nil
}

// measurement is all that one run has measured.
type measurement struct {
	options  options
	machine  rig.Machine
	postgres string
	nginx    string
	sync     time.Duration // of the disk
	idle     idle
	setups   []*setup
	uids     *setup
	memory   []float64 // MiB of each replica, at the end
	took     time.Duration
	limit    int // max_connections
}

// idle is what all replicas together use without a review, in seconds a second.
type idle struct {
	Replicas, Database float64
	Connections        int // to Postgres, of all replicas
}

func (o options) measure(ctx context.Context) (m measurement, err error) {
	began := time.Now()
	m.options = o
	c, err := o.startCluster(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	m.setups, err = c.setups()
	if err != nil {
		return m, err
	}
	busy, _ := m.ends()
	m.uids = withUIDs(busy)
	for _, step := range []func(context.Context, *cluster) error{m.describe, m.warmUp, m.watchIdle, m.rounds, m.countSettled, m.readMemory} {
		err = step(ctx, c)
		if err != nil {
			return m, err
		}
	}
	m.took = time.Since(began)
	return m, nil
}

func (m *measurement) describe(ctx context.Context, c *cluster) (err error) {
	m.machine, err = rig.ReadMachine(ctx, m.options.repository)
	if err != nil {
		return err
	}
	m.nginx, err = rig.Command(ctx, c.Folder, m.options.nginx, "-v")
	if err != nil {
		return fmt.Errorf("asking nginx for its version: %w", err)
	}
	m.sync, err = rig.SyncTime(c.Folder)
	if err != nil {
		return err
	}
	err = c.database.QueryRow(ctx, "select current_setting('server_version'), current_setting('max_connections')::int").
		Scan(&m.postgres, &m.limit)
	return err
}

func (m *measurement) warmUp(ctx context.Context, c *cluster) error {
	for _, s := range m.setups {
		_, err := c.sample(ctx, m.options.self, s, m.options.seconds/2)
		if err != nil {
			return err
		}
	}
	return nil
}

// idleTime is long enough for /proc's hundredths of a second.
const idleTime = 4 * time.Second

func (m *measurement) watchIdle(ctx context.Context, c *cluster) error {
	all := &setup{serving: c.replicas}
	before, err := c.read(ctx, all)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idleTime):
	}
	after, err := c.read(ctx, all)
	if err != nil {
		return err
	}
	m.idle.Replicas = (after.replicas - before.replicas).Seconds() / idleTime.Seconds()
	m.idle.Database = (after.database - before.database).Seconds() / idleTime.Seconds()
	return c.database.QueryRow(ctx, "select count(*) from pg_stat_activity where application_name = 'gatehouse'").Scan(&m.idle.Connections)
}

// rounds measure every setup once each. Each round begins with another one.
func (m *measurement) rounds(ctx context.Context, c *cluster) error {
	for round := range m.options.rounds {
		for i := range m.setups {
			s := m.setups[(i+round)%len(m.setups)]
			one, err := c.sample(ctx, m.options.self, s, m.options.seconds)
			if err != nil {
				return err
			}
			s.samples = append(s.samples, one)
			progress("round %d: %-24s %2d connections %7.0f/s  p99 %6.2f ms  %v + %v + %v CPU, %.3f commits", round+1, s.name,
				s.connections, one.PerSecond, rig.Milliseconds(one.P99), one.Replicas, one.Proxy, one.Database, one.Commits)
		}
		err := m.uids.renew(round, m.options.seconds)
		if err != nil {
			return err
		}
		one, err := c.sample(ctx, m.options.self, m.uids, m.options.seconds)
		if err != nil {
			return fmt.Errorf("with uids: %w", err)
		}
		m.uids.samples = append(m.uids.samples, one)
	}
	return nil
}

func (m *measurement) readMemory(_ context.Context, c *cluster) error {
	for _, replica := range c.replicas {
		used, err := rig.Resident(replica.PID())
		if err != nil {
			return err
		}
		m.memory = append(m.memory, used)
	}
	return nil
}
