package scale

import (
	"math"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// constants are what one review costs, in the median of the rounds. Processor times are in seconds.
type constants struct {
	Replica  float64 // g
	Proxy    float64 // n
	Database float64 // p
	WAL      float64 // w, bytes
	Commits  float64 // c
	Trips    float64 // round trips to Postgres
}

func constantsOf(s *rig.Subject) constants {
	const microsecond = 1e-6
	// Whatever a review asks of Postgres is one round trip on a connection that it takes from the pool.
	trips := func(x rig.Sample) float64 {
		return x.Series["gatehouse_postgres_pool_acquires_total"] / float64(x.Decisions)
	}
	return constants{
		Replica: s.Of(rig.ServerCPU) * microsecond, Proxy: s.Of(rig.ProxyCPU) * microsecond, Database: s.Of(rig.DatabaseCPU) * microsecond,
		WAL: s.Of(rig.WAL), Commits: s.Of(rig.Commits), Trips: s.Of(trips),
	}
}

// Of the machines in the worked example.
const (
	replicaCores  = 4
	replicaConns  = 16 // --database-max-conns
	replicaAside  = 2  // the connections that listen: for events, and for the queue of the sinks
	secondsInADay = 86_400
	bytesInMB     = 1e6
	bytesInTB     = 1e12
)

// need is what a load takes.
type need struct {
	ReplicaCores, ProxyCores, DatabaseCores float64
	Replicas                                int // of replicaCores each
	Connections                             int // to Postgres
	WALPerSecond, WALPerDay                 float64
	Commits                                 float64 // a second
}

// need is linear: what two reviews need is twice what one needs. What waits for what inside Postgres is not in it.
func (c constants) need(reviewsPerSecond float64) need {
	n := need{
		ReplicaCores: reviewsPerSecond * c.Replica, ProxyCores: reviewsPerSecond * c.Proxy, DatabaseCores: reviewsPerSecond * c.Database,
		WALPerSecond: reviewsPerSecond * c.WAL, WALPerDay: reviewsPerSecond * c.WAL * secondsInADay,
		Commits: reviewsPerSecond * c.Commits,
	}
	n.Replicas = max(1, int(math.Ceil(n.ReplicaCores/replicaCores)))
	n.Connections = n.Replicas * (replicaConns + replicaAside)
	return n
}
