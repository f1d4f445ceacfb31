//go:build linux

package scale

import (
	"math"
	"time"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// constants are what one review costs. Times are in seconds of processor time.
type constants struct {
	Replica  float64 // g
	Proxy    float64 // n
	Database float64 // p
	WAL      float64 // w, bytes
	Trips    float64 // t, round trips to Postgres
	Commits  float64 // c
	Syncs    float64 // of the disk
}

// constants are the medians of the rounds.
func (s *setup) constants() constants {
	seconds := func(of func(sample) time.Duration) float64 {
		return rig.MedianOf(s.samples, func(one sample) float64 { return of(one).Seconds() })
	}
	return constants{
		Replica:  seconds(func(one sample) time.Duration { return one.Replicas }),
		Proxy:    seconds(func(one sample) time.Duration { return one.Proxy }),
		Database: seconds(func(one sample) time.Duration { return one.Database }),
		WAL:      rig.MedianOf(s.samples, func(one sample) float64 { return one.WAL }),
		Trips:    rig.MedianOf(s.samples, func(one sample) float64 { return one.Trips }),
		Commits:  rig.MedianOf(s.samples, func(one sample) float64 { return one.Commits }),
		Syncs:    s.settled.Syncs,
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
	Commits, Syncs                          float64 // a second
}

// need is linear: what two reviews need is twice what one needs. What waits for what inside Postgres is not in it.
func (c constants) need(reviewsPerSecond float64) need {
	n := need{
		ReplicaCores: reviewsPerSecond * c.Replica, ProxyCores: reviewsPerSecond * c.Proxy, DatabaseCores: reviewsPerSecond * c.Database,
		WALPerSecond: reviewsPerSecond * c.WAL, WALPerDay: reviewsPerSecond * c.WAL * secondsInADay,
		Commits: reviewsPerSecond * c.Commits, Syncs: reviewsPerSecond * c.Syncs,
	}
	n.Replicas = max(1, int(math.Ceil(n.ReplicaCores/replicaCores)))
	n.Connections = n.Replicas * (replicaConns + replicaAside)
	return n
}

// saturation is how many reviews a second use all of a Postgres with so many cores.
func (c constants) saturation(cores float64) float64 { return cores / c.Database }

// line is a cost that has a part of each review and a part of each round trip that is shared by a batch of reviews.
type line struct {
	Review, Trip float64
	Off          float64 // the largest distance of a measured cost from the line, as a part of that cost
}

// fit is the line with the least squares. There must be two different xs.
func fit(trips, costs []float64) line {
	n := float64(len(trips))
	var sumX, sumY, sumXX, sumXY float64
	for i, x := range trips {
		sumX, sumY, sumXX, sumXY = sumX+x, sumY+costs[i], sumXX+x*x, sumXY+x*costs[i]
	}
	l := line{Trip: (n*sumXY - sumX*sumY) / (n*sumXX - sumX*sumX)}
	l.Review = (sumY - l.Trip*sumX) / n
	for i, x := range trips {
		l.Off = max(l.Off, math.Abs(l.at(x)-costs[i])/costs[i])
	}
	return l
}

func (l line) at(trips float64) float64 { return l.Review + l.Trip*trips }

// lines are how the processor times of replicas and of Postgres grow with the round trips of a review.
func lines(setups []*setup) (replica, database line) {
	var trips, replicas, databases []float64
	for _, s := range setups {
		c := s.constants()
		trips, replicas, databases = append(trips, c.Trips), append(replicas, c.Replica), append(databases, c.Database)
	}
	return fit(trips, replicas), fit(trips, databases)
}
