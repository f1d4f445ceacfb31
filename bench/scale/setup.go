//go:build linux

package scale

import (
	"context"
	"errors"
	"fmt"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// cluster is all that is measured: replicas on one Postgres, and nginx in front of them.
type cluster struct {
	*rig.Rig
	database *rig.Postgres
	replicas []*rig.Process
	nginx    *rig.Process
	pools    []pool
}

// poolSizes are the numbers of replicas that are measured behind nginx.
var poolSizes = []int{1, 2, 4}

func (o options) startCluster(ctx context.Context) (c *cluster, err error) {
	c = new(cluster)
	c.Rig, err = rig.New("gatehouse-scale")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	c.database, err = rig.StartPostgres(ctx)
	if err != nil {
		return nil, err
	}
	c.OnClose(c.database.Stop)
	err = c.database.Insert(ctx, rig.Mixed())
	if err != nil {
		return nil, err
	}
	for i := range poolSizes[len(poolSizes)-1] {
		replica, err := c.Serve(ctx, fmt.Sprintf("replica-%d", i+1), rig.Gatehouse{
			Program: o.gatehouse, Policies: o.policy, Database: c.database.URL,
		})
		if err != nil {
			return nil, err
		}
		c.replicas = append(c.replicas, replica)
	}
	for _, size := range poolSizes {
		address, err := rig.FreeAddress(ctx)
		if err != nil {
			return nil, err
		}
		p := pool{listen: address}
		for _, replica := range c.replicas[:size] {
			p.replicas = append(p.replicas, replica.Address)
		}
		c.pools = append(c.pools, p)
	}
	c.nginx, err = startNginx(ctx, c.Rig, o.nginx, c.pools)
	return c, err
}

// setup is one line of the tables.
type setup struct {
	name        string
	replicas    int
	proxied     bool
	connections int

	load    rig.Load
	serving []*rig.Process
	samples []sample
	settled settled
}

// uidsPerSecond are more than a setup here answers.
const uidsPerSecond = 10_000

// withUIDs is the setup that replicas with much to do are taken from, with another uid in each review.
func withUIDs(busy *setup) *setup {
	s := *busy
	s.load.Once, s.load.Turn = true, rig.MixedWorkspaces
	s.samples = nil
	return &s
}

// renew gives a setup the requests of one run.
func (s *setup) renew(run int, seconds float64) (err error) {
	s.load.Requests, err = rig.ReviewsOnce(rig.Mixed(), int(seconds*uidsPerSecond)+rig.MixedWorkspaces, fmt.Sprintf("scale-%d", run))
	return err
}

// connectionCounts are those of the load.
var connectionCounts = []int{16, 64}

// setups are in the order of the tables: for each number of connections one replica alone, and then the pools.
func (c *cluster) setups() ([]*setup, error) {
	var all []*setup
	add := func(s *setup, address string) error {
		var err error
		s.load, err = rig.ReviewLoad(s.name, address, s.connections)
		s.serving = c.replicas[:s.replicas]
		all = append(all, s)
		return err
	}
	for _, connections := range connectionCounts {
		err := add(&setup{name: "1 replica, no proxy", replicas: 1, connections: connections}, c.replicas[0].Address)
		for _, p := range c.pools {
			n := len(p.replicas)
			name := fmt.Sprintf("%d replicas behind nginx", n)
			if n == 1 {
				name = "1 replica behind nginx"
			}
			err = errors.Join(err, add(&setup{name: name, replicas: n, proxied: true, connections: connections}, p.listen))
		}
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}
