package announce

import (
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
)

// RegistrySink is the name of the sink that is the registry's own Redis.
const RegistrySink = "registry"

// The registry's names.
const (
	eventsChannel = "events:broadcast"
	livenessKey   = "ws:"
)

const (
	redisTimeout     = 2 * time.Second // for each of connecting, writing, reading
	redisConnections = 8
	// A connection that was idle for longer is tried before it is used: the server
	// may have been restarted, or the network forgotten it.
	redisTrustedIdle = time.Second
	redisIdle        = 5 * time.Minute
)

// Redis gets the registry's own message. The registry's Redis gets it on the
// channel that the registry's own events go over, and loses the keys through which
// the registry would take the failed workspace for alive and bring it back online.
type Redis struct {
	name       string
	channel    string
	pool       *redis.Pool
	workspaces Workspaces // nil where there are no liveness keys
}

// newRedis takes a configuration that is valid. A password in a file that changes is used for the next connection.
func newRedis(config SinkConfig, deps Dependencies) (*Redis, error) {
	address, err := watchSettings(config, deps.Report, func(resolved SinkConfig) (redisAddress, error) {
		return parseRedisURL(string(resolved.URL))
	})
	if err != nil {
		return nil, err
	}
	sink := &Redis{name: config.Name, channel: config.Channel}
	if sink.channel == "" {
		sink.channel = eventsChannel
	}
	deletesKeys := config.Name == RegistrySink
	if config.LivenessKeys != nil {
		deletesKeys = *config.LivenessKeys
	}
	if deletesKeys {
		sink.workspaces = deps.Workspaces
	}
	sink.pool = &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) { return address.Get().dial(ctx) },
		MaxActive:   redisConnections,
		MaxIdle:     redisConnections,
		IdleTimeout: redisIdle,
		Wait:        true,
		TestOnBorrowContext: func(ctx context.Context, conn redis.Conn, lastUsed time.Time) error {
			if time.Since(lastUsed) < redisTrustedIdle {
				return nil
			}
			_, err := redis.DoContext(conn, ctx, "PING")
			return err
		},
	}
	return sink, nil
}

// Name is that of the configuration.
func (r *Redis) Name() string { return r.name }

// Close closes the connections that are idle, and the others when they are.
func (r *Redis) Close() error { return r.pool.Close() }

// Deliver publishes the message and, if the workspace is still failed, deletes
// its liveness keys. Keys of a workspace that has recovered since the event are
// left alone: a late retry would take it offline. Between the question and the
// deletion a workspace can still recover; its next heartbeat sets its keys again.
func (r *Redis) Deliver(ctx context.Context, job Job) error {
	failed := false
	if r.workspaces != nil {
		var err error
		failed, err = r.workspaces.StillFailed(ctx, job.WorkspaceID)
		if err != nil {
			return fmt.Errorf("asking whether the workspace is still failed: %w", err)
		}
	}
	conn, err := r.pool.GetContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to Redis: %w", err)
	}
	// What matters of a connection that does not close well was said before.
	defer func() { _ = conn.Close() }()
	return r.publish(ctx, conn, job, failed)
}

// publish is one transaction: who hears the message finds the keys gone.
func (r *Redis) publish(ctx context.Context, conn redis.Conn, job Job, failed bool) error {
	err := conn.Send("MULTI")
	if err == nil && failed {
		err = conn.Send("DEL", livenessKeys(job.WorkspaceID)...)
	}
	if err == nil {
		err = conn.Send("PUBLISH", r.channel, job.Message)
	}
	if err != nil {
		return fmt.Errorf("writing to Redis: %w", err)
	}
	replies, err := redis.Values(redis.DoContext(conn, ctx, "EXEC"))
	if err != nil {
		return fmt.Errorf("publishing to Redis: %w", err)
	}
	// A command that fails inside of a transaction fails alone.
	for _, reply := range replies {
		if refused, ok := reply.(redis.Error); ok {
			return fmt.Errorf("publishing to Redis: %w", refused)
		}
	}
	return nil
}

func livenessKeys(workspaceID uuid.UUID) []any {
	key := livenessKey + workspaceID.String()
	return []any{key, key + ":url", key + ":internal_url"}
}
