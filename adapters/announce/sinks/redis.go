package sinks

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
)

// Registry is the name of the sink that is the registry's own Redis.
const Registry = "registry"

// The registry's names.
const (
	eventsChannel = "events:broadcast"
	livenessKey   = "ws:"
)

const (
	redisTimeout     = 2 * time.Second // for each of connecting, writing, reading
	redisConnections = 8
	// A connection that was idle for longer is tried before it is used: the server may have been restarted, or the network may
	// have dropped the connection.
	redisTrustedIdle = time.Second
	redisIdle        = 5 * time.Minute
)

// Redis is the settings of a Redis channel. It gets the registry's own message. The registry's Redis gets it on the
// channel that the registry's own events go over, and loses the keys through which
// the registry would take the failed workspace for alive and bring it back online.
type Redis struct {
	// URL is redis://… or rediss://….
	URL Secret `json:"url"`
	// Channel is where events are published (events:broadcast).
	Channel string `json:"channel,omitzero"`
	// LivenessKeys says whether the registry's keys of a failed workspace are deleted from this Redis. By default only the
	// sink named registry does so.
	LivenessKeys *bool `json:"liveness_keys,omitzero"`
}

// Validate implements Settings.
func (r Redis) Validate() error {
	if r.URL == "" {
		return errNoURL
	}
	return validate(r.settings())
}

func (r Redis) settings() []setting {
	return []setting{{"url", r.URL, func(text string) error {
		_, err := parseRedisURL(text)
		return err
	}}}
}

// channel publishes each event on a channel of Redis.
type channel struct {
	name       string
	channel    string
	pool       *redis.Pool
	workspaces Workspaces // nil where there are no liveness keys
}

// Open implements Settings. A password in a file that changes is used for the next connection.
func (r Redis) Open(name string, deps Dependencies) (OpenSink, error) {
	address, err := watch(name, deps.Report, r.settings(), func(texts []string) (redisAddress, error) {
		return parseRedisURL(texts[0])
	})
	if err != nil {
		return nil, err
	}
	sink := &channel{name: name, channel: cmp.Or(r.Channel, eventsChannel)}
	deletesKeys := name == Registry
	if r.LivenessKeys != nil {
		deletesKeys = *r.LivenessKeys
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

func (c *channel) Name() string { return c.name }

// Close closes the connections that are idle, and each of the others when it is idle.
func (c *channel) Close() error { return c.pool.Close() }

// Deliver publishes the message and, if the workspace is still failed, deletes
// its liveness keys. Keys of a workspace that has recovered since the event are
// left alone: a late retry would take it offline. Between the question and the
// deletion a workspace can still recover; its next heartbeat sets its keys again.
func (c *channel) Deliver(ctx context.Context, job Job) error {
	failed := false
	if c.workspaces != nil {
		var err error
		failed, err = c.workspaces.StillFailed(ctx, job.WorkspaceID)
		if err != nil {
			return fmt.Errorf("asking whether the workspace is still failed: %w", err)
		}
	}
	conn, err := c.pool.GetContext(ctx)
	if err != nil {
		return fmt.Errorf("connecting to Redis: %w", err)
	}
	// An error of closing does not matter: what the server answered has been read.
	defer func() { _ = conn.Close() }()
	return c.publish(ctx, conn, job, failed)
}

// publish is one transaction: when a subscriber hears the message, the keys are gone.
func (c *channel) publish(ctx context.Context, conn redis.Conn, job Job, failed bool) error {
	err := conn.Send("MULTI")
	if err == nil && failed {
		err = conn.Send("DEL", livenessKeys(job.WorkspaceID)...)
	}
	if err == nil {
		err = conn.Send("PUBLISH", c.channel, job.Message)
	}
	if err != nil {
		return fmt.Errorf("writing to Redis: %w", err)
	}
	replies, err := redis.Values(redis.DoContext(conn, ctx, "EXEC"))
	if err != nil {
		return fmt.Errorf("publishing to Redis: %w", err)
	}
	// A transaction of Redis goes on when one of its commands fails, so each reply is looked at.
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
