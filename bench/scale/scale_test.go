package scale

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

func TestNginxWritesOnlyIntoItsFolder(t *testing.T) {
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

func TestPageShowsTheMeasuredConfiguration(t *testing.T) {
	page, err := os.ReadFile("../../docs/scale.md")
	require.NoError(t, err)
	p := pool{listen: "127.0.0.1:8180", replicas: []string{"127.0.0.1:8181", "127.0.0.1:8281"}}
	require.Contains(t, string(page), "```nginx\n"+p.config()+"```\n")
}

func TestModelIsLinear(t *testing.T) {
	c := constants{Replica: 200e-6, Proxy: 20e-6, Database: 100e-6, WAL: 2000, Commits: 0.1}
	n := c.need(10_000)
	require.InDelta(t, 2, n.ReplicaCores, 1e-9)
	require.InDelta(t, 0.2, n.ProxyCores, 1e-9)
	require.InDelta(t, 1, n.DatabaseCores, 1e-9)
	require.Equal(t, 1, n.Replicas)
	require.Equal(t, replicaConns+replicaAside, n.Connections)
	require.InDelta(t, 20e6, n.WALPerSecond, 1e-3)
	require.InDelta(t, 1.728e12, n.WALPerDay, 1)
	require.InDelta(t, 1000, n.Commits, 1e-9)
	require.Equal(t, 3, c.need(50_000).Replicas, "10 cores do not fit into two replicas of 4")
}

func TestTwoDigitsRounds(t *testing.T) {
	for value, want := range map[float64]string{0: "0", 7.6: "8", 99: "99", 123: "120", 45_678: "46,000", 995: "1,000"} {
		require.Equal(t, want, twoDigits(value))
	}
}

// measured is a measurement in which each setup costs what its place in the tables says.
func measured() *measurement {
	address := func(name string) *rig.Process { return &rig.Process{Name: name, Address: name} }
	replicas := []*rig.Process{address("127.0.0.1:1"), address("127.0.0.1:2"), address("127.0.0.1:3"), address("127.0.0.1:4")}
	var pools []pool
	for _, size := range poolSizes() {
		pools = append(pools, newPool("127.0.0.1:9", replicas[:size]))
	}
	m := &measurement{setups: setups(replicas, pools, address("nginx"), nil, "file"), memory: []float64{50}, limit: 300}
	for n, s := range m.setups {
		i := time.Duration(n + 1)
		s.Samples = []rig.Sample{{
			Result: rig.Result{Decisions: 10, PerSecond: float64(1000 * i), P50: i * time.Millisecond, P99: 2 * i * time.Millisecond},
			Server: (50 + 100*i) * time.Microsecond, Proxy: 10 * time.Microsecond, Database: (20 + 50*i) * time.Microsecond,
			Commits: 0.1, WAL: 1234, Series: map[string]float64{"gatehouse_postgres_pool_acquires_total": float64(i)},
		}}
	}
	busy, _ := m.ends()
	m.uids = busy.Subject
	return m
}

func TestReportHasALineForEachSetup(t *testing.T) {
	m := measured()
	require.Len(t, m.setups, len(connectionCounts())*(1+len(poolSizes())))
	var page rig.Page
	m.write(&page)
	text := page.String()
	require.Contains(t, text, "| 1 replica behind nginx | 16 | 2,000 | 2.00 | 2.00 ms | 4.00 ms | 250 µs | 10 µs | 120 µs |")
	require.Contains(t, text, "| 2 replicas behind nginx | 64 | 10.0 | 0.700 | 0.100 | 1,234 B |")
	require.Contains(t, text, "With a uid in each, 1 replica behind nginx at 64 connections answers 6,000/s")
	require.Contains(t, text, "| replicas of 4 cores, X · g / 4 | 2 | 2 | 9 | 6 |")
	for _, wrong := range []string{"NaN", "Inf", "%!"} {
		require.NotContains(t, text, wrong)
	}
	busy, thin := m.ends()
	require.InDelta(t, 6000, busy.Of(rig.Rate), 0)
	require.InDelta(t, 4000, thin.Of(rig.Rate), 0)
}

func TestBaselineHasNoProxyAndAsManyConnections(t *testing.T) {
	m := measured()
	require.Same(t, m.setups[0].Subject, m.baseline(m.setups[3]))
	require.Same(t, m.setups[4].Subject, m.baseline(m.setups[6]))
}
