package main

import (
	"context"
	"time"

	"gatehouse/adapters/announce"
)

// stopPatience is how long the relay may take to end deliveries under way.
const stopPatience = 10 * time.Second

// startRelay makes the tables ready and then works the queue. The returned func stops it. The relay outlives
// ctx until then, because requests that finish after the signal to stop still announce.
func startRelay[TTx any](
	ctx context.Context, queue *announce.Database[TTx], redisURL string, workspaces announce.Workspaces,
	tables *tables, options announce.Options,
) (func(), error) {
	var sinks []announce.Sink
	closeSinks := func() error { return nil }
	if redisURL != "" {
		redis, err := announce.NewRedis(redisURL, workspaces)
		if err != nil {
			return nil, err
		}
		sinks = append(sinks, redis)
		closeSinks = redis.Close
	}
	relay, err := announce.NewRelay(queue, sinks, options)
	if err != nil {
		return nil, err
	}
	working := context.WithoutCancel(ctx)
	err = tables.start(ctx, func() { relay.Start(working) })
	if err != nil {
		return nil, err
	}
	return func() {
		limited, cancel := context.WithTimeout(working, stopPatience)
		defer cancel()
		err := relay.Stop(limited)
		if err == nil {
			err = closeSinks()
		}
		if err != nil {
			options.Log.Warn("stopping the relay", "error", err)
		}
	}, nil
}
