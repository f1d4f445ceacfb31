package metrics

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// NewPoolCollector collects the state of the Postgres connection pool. The well-kept collector for pgxpool gives its
// counters names that promtool refuses, hence these few lines.
func NewPoolCollector(pool *pgxpool.Pool) prometheus.Collector {
	const prefix = "gatehouse_postgres_pool_"
	var (
		limit    = gauge(prefix+"max_connections", "Connections that the pool may open.")
		open     = gauge(prefix+"connections", "Connections that are open.")
		acquired = gauge(prefix+"acquired_connections", "Connections in use.")
		acquires = counter(prefix+"acquires_total", "Connections handed out.")
		waits    = counter(prefix+"acquire_waits_total", "Connections that were waited for because none was idle.")
		waited   = counter(prefix+"acquire_wait_seconds_total", "Time spent getting connections.")
		canceled = counter(prefix+"canceled_acquires_total", "Waits for a connection that a deadline ended.")
	)
	return scraped{[]figure{limit, open, acquired, acquires, waits, waited, canceled}, func(_ context.Context, show show) {
		stat := pool.Stat()
		show(limit, float64(stat.MaxConns()))
		show(open, float64(stat.TotalConns()))
		show(acquired, float64(stat.AcquiredConns()))
		show(acquires, float64(stat.AcquireCount()))
		show(waits, float64(stat.EmptyAcquireCount()))
		show(waited, stat.AcquireDuration().Seconds())
		show(canceled, float64(stat.CanceledAcquireCount()))
	}}
}
