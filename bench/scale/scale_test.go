//go:build linux

package scale

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

func TestNginxWritesNowhereButIntoItsFolder(t *testing.T) {
	text := nginxConfig("/scratch", []pool{
		{listen: "127.0.0.1:9001", replicas: []string{"127.0.0.1:8001"}},
		{listen: "127.0.0.1:9002", replicas: []string{"127.0.0.1:8001", "127.0.0.1:8002"}},
	})
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 2 && (strings.HasSuffix(fields[0], "_path") || fields[0] == "pid") {
			require.True(t, strings.HasPrefix(fields[1], "/scratch/"), line)
		}
		if len(fields) == 2 && (fields[0] == "listen" || fields[0] == "server") && fields[1] != "{" {
			require.True(t, strings.HasPrefix(fields[1], "127.0.0.1:"), line)
		}
	}
	for _, want := range []string{"daemon off;", "worker_processes 1;", "pid /scratch/nginx.pid;", "access_log off;", "client_body_temp_path /scratch/body;"} {
		require.Contains(t, text, want)
	}
	require.Equal(t, 2, strings.Count(text, "proxy_http_version 1.1;"))
	require.Equal(t, 2, strings.Count(text, `proxy_set_header Connection "";`))
	require.Equal(t, strings.Count(text, "{"), strings.Count(text, "}"))
}

func TestThePageShowsTheConfigurationThatIsMeasured(t *testing.T) {
	page, err := os.ReadFile("../../docs/scale.md")
	require.NoError(t, err)
	p := pool{listen: "127.0.0.1:8180", replicas: []string{"127.0.0.1:8181", "127.0.0.1:8281"}}
	require.Contains(t, string(page), "```nginx\n"+p.config()+"```\n")
}

func TestAReviewsCostsAreDifferencesOfCounters(t *testing.T) {
	before := counters{replicas: time.Second, proxy: time.Second, database: 2 * time.Second, trips: 10, xid: 700, wal: 1000}
	after := counters{replicas: 2 * time.Second, proxy: 1100 * time.Millisecond, database: 4 * time.Second, trips: 260, xid: 825, wal: 1_001_000}
	require.Equal(t, sample{
		Replicas: time.Millisecond, Proxy: 100 * time.Microsecond, Database: 2 * time.Millisecond, Trips: 0.25, Commits: 0.125, WAL: 1000,
	}, before.sample(after, 1000))
}

func TestTheModelIsLinear(t *testing.T) {
	c := constants{Replica: 200e-6, Proxy: 20e-6, Database: 100e-6, WAL: 2000, Commits: 0.1, Syncs: 0.05}
	n := c.need(10_000)
	require.InDelta(t, 2, n.ReplicaCores, 1e-9)
	require.InDelta(t, 0.2, n.ProxyCores, 1e-9)
	require.InDelta(t, 1, n.DatabaseCores, 1e-9)
	require.Equal(t, 1, n.Replicas)
	require.Equal(t, replicaConns+replicaAside, n.Connections)
	require.InDelta(t, 20e6, n.WALPerSecond, 1e-3)
	require.InDelta(t, 1.728e12, n.WALPerDay, 1)
	require.InDelta(t, 1000, n.Commits, 1e-9)
	require.InDelta(t, 500, n.Syncs, 1e-9)
	require.Equal(t, 3, c.need(50_000).Replicas, "10 cores do not fit into two replicas of 4")
	require.InDelta(t, 160_000, c.saturation(16), 1e-6)
}

func TestACostIsSplitIntoThatOfReviewsAndThatOfRoundTrips(t *testing.T) {
	l := fit([]float64{0.1, 0.5, 1.5}, []float64{60e-6, 100e-6, 200e-6})
	require.InDelta(t, 50e-6, l.Review, 1e-12)
	require.InDelta(t, 100e-6, l.Trip, 1e-12)
	require.InDelta(t, 0, l.Off, 1e-9)

	l = fit([]float64{0, 1, 2}, []float64{1, 3, 2})
	require.InDelta(t, 1.5, l.Review, 1e-9)
	require.InDelta(t, 0.5, l.Trip, 1e-9)
	require.InDelta(t, 0.5, l.Off, 1e-9, "the first is 1 and not 1.5")
}

func TestNumbersThatNobodyKnowsBetterAreRounded(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 7.6: "8", 99: "99", 123: "120", 45_678: "46,000", 995: "1,000"} {
		require.Equal(t, want, twoDigits(value))
	}
}

// measured is a measurement in which each setup costs what its place in the tables says.
func measured() measurement {
	m := measurement{options: options{rounds: 1, seconds: 1}, memory: []float64{50}, limit: 300, nginx: "nginx version: nginx/1.22.1"}
	for _, connections := range connectionCounts {
		for _, replicas := range append([]int{1}, poolSizes...) {
			i := time.Duration(len(m.setups) + 1)
			m.setups = append(m.setups, &setup{
				name: "some", replicas: replicas, proxied: len(m.setups)%4 > 0, connections: connections,
				settled: settled{Transactions: 0.5, Syncs: 0.1},
				samples: []sample{{
					PerSecond: float64(1000 * i), P50: i * time.Millisecond, P99: 2 * i * time.Millisecond, Replicas: (50 + 100*i) * time.Microsecond,
					Proxy: 10 * time.Microsecond, Database: (20 + 50*i) * time.Microsecond, Trips: float64(i) / 10, Commits: 0.1, WAL: 1234,
				}},
			})
		}
	}
	busy, _ := m.ends()
	m.uids = withUIDs(busy)
	m.uids.samples = busy.samples
	return m
}

func TestTheReportHasALineForEachSetupAndNothingThatIsNoNumber(t *testing.T) {
	m := measured()
	text := m.markdown()
	require.Equal(t, 2*len(m.setups), strings.Count(text, "\n| some | "))
	require.Contains(t, text, "| some | 16 | 2,000 | 2.00 | 2.00 ms | 4.00 ms | 250 µs | 10 µs | 120 µs |")
	require.Contains(t, text, "a review takes a replica 50 µs and 1000 µs for each round trip, and Postgres 20 µs and 500 µs")
	require.Contains(t, text, "With a uid in each, some at 64 connections answers 6,000/s")
	require.NotContains(t, text, "NaN")
	require.NotContains(t, text, "Inf")
	require.NotContains(t, text, "%!")

	busy, thin := m.ends()
	require.InDelta(t, 6000, busy.perSecond(), 0)
	require.InDelta(t, 4000, thin.perSecond(), 0)
	require.Contains(t, text, "| replicas of 4 cores, X · g / 4 | 2 | 2 | 9 | 6 |")
}

func TestEverySetupIsComparedWithTheOneWithoutProxy(t *testing.T) {
	m := measured()
	require.Same(t, m.setups[0], m.baseline(m.setups[3]))
	require.Same(t, m.setups[4], m.baseline(m.setups[6]))
	require.InDelta(t, 1.4, m.setups[6].against(m.setups[4]), 1e-9)
}

func TestTheLoadCountsDenies(t *testing.T) {
	c := &cluster{replicas: []*rig.Process{{Name: "a", Address: "127.0.0.1:1"}, {Name: "b", Address: "127.0.0.1:2"}, {}, {}}}
	for _, size := range poolSizes {
		p := pool{listen: "127.0.0.1:9"}
		for _, replica := range c.replicas[:size] {
			p.replicas = append(p.replicas, replica.Address)
		}
		c.pools = append(c.pools, p)
	}
	setups, err := c.setups()
	require.NoError(t, err)
	require.Len(t, setups, len(connectionCounts)*(1+len(poolSizes)))
	for _, s := range setups {
		require.Len(t, s.serving, s.replicas)
		require.NoError(t, s.load.Check(8000, 1000))
		require.Error(t, s.load.Check(8000, 0), "an nginx that answers by itself is no Gatehouse")
	}
}
