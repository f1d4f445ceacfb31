package main

import (
	"context"
	"errors"
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
) (stop func(), err error) {
	sinks, closeSinks, err := openSinks(redisURL, workspaces)
	if err != nil {
		return nil, err
	}
	relay, err := announce.NewRelay(queue, sinks, options)
	if err != nil {
		return nil, errors.Join(err, closeSinks())
	}
	working := context.WithoutCancel(ctx)
	err = tables.start(ctx, func() { relay.Start(working) })
	if err != nil {
		return nil, errors.Join(err, closeSinks())
	}
	return func() {
		limited, cancel := context.WithTimeout(working, stopPatience)
		defer cancel()
		err := errors.Join(relay.Stop(limited), closeSinks())
		if err != nil {
			options.Log.Warn("stopping the relay", "error", err)
		}
	}, nil
}

// openSinks makes the sinks that are configured.
func openSinks(redisURL string, workspaces announce.Workspaces) ([]announce.Sink, func() error, error) {
	if redisURL == "" {
		return nil, func() error { return nil }, nil
	}
	redis, err := announce.NewRedis(redisURL, workspaces)
	if err != nil {
		return nil, nil, err
	}
	return []announce.Sink{redis}, redis.Close, nil
}
