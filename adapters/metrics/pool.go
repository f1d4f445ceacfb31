package metrics

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// poolMetric is one figure of the pool. The well-kept collector for pgxpool gives its counters names that
// promtool refuses, hence these few lines.
type poolMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*pgxpool.Stat) float64
}

type poolCollector struct {
	pool    *pgxpool.Pool
	metrics []poolMetric
}

// NewPoolCollector collects the state of the Postgres connection pool.
func NewPoolCollector(pool *pgxpool.Pool) prometheus.Collector {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	metric := func(name, help string, kind prometheus.ValueType, value func(*pgxpool.Stat) float64) poolMetric {
		return poolMetric{prometheus.NewDesc("gatehouse_postgres_pool_"+name, help, nil, nil), kind, value}
	}
	return poolCollector{pool: pool, metrics: []poolMetric{
		metric("max_connections", "Connections that the pool may open.", gauge,
			func(s *pgxpool.Stat) float64 { return float64(s.MaxConns()) }),
		metric("connections", "Connections that are open.", gauge,
			func(s *pgxpool.Stat) float64 { return float64(s.TotalConns()) }),
		metric("acquired_connections", "Connections in use.", gauge,
			func(s *pgxpool.Stat) float64 { return float64(s.AcquiredConns()) }),
		metric("acquires_total", "Connections handed out.", counter,
			func(s *pgxpool.Stat) float64 { return float64(s.AcquireCount()) }),
		metric("acquire_waits_total", "Connections that were waited for because none was idle.", counter,
			func(s *pgxpool.Stat) float64 { return float64(s.EmptyAcquireCount()) }),
		metric("acquire_wait_seconds_total", "Time spent getting connections.", counter,
			func(s *pgxpool.Stat) float64 { return s.AcquireDuration().Seconds() }),
		metric("canceled_acquires_total", "Waits for a connection that a deadline ended.", counter,
			func(s *pgxpool.Stat) float64 { return float64(s.CanceledAcquireCount()) }),
	}}
}

func (c poolCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		descs <- m.desc
	}
}

func (c poolCollector) Collect(metrics chan<- prometheus.Metric) {
	stat := c.pool.Stat()
	for _, m := range c.metrics {
		metrics <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(stat))
	}
}
