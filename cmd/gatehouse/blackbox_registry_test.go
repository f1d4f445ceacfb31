package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// registry is the registry's own side: its tables and its Redis.
type registry struct {
	t    *testing.T
	pool *pgxpool.Pool
}

func newRegistry(t *testing.T, url string) *registry {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &registry{t: t, pool: pool}
}

func (r *registry) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

func (r *registry) count(sql string, args ...any) int {
	r.t.Helper()
	var n int
	require.NoError(r.t, r.pool.QueryRow(r.t.Context(), sql, args...).Scan(&n))
	return n
}

// workspace stores a row and gives its id.
func (r *registry) workspace(kind, status string) uuid.UUID {
	r.t.Helper()
	id := uuid.New()
	r.exec(`insert into workspaces (id, name, kind, status, url) values ($1, 'concierge', $2, $3, 'https://agent.example.com')`, id, kind, status)
	return id
}

// plantedValue is the value of every secret in these tests. It must never be seen outside its column.
const plantedValue = "sk-planted-secret-value"

// seed stores a secret of a workspace as the provisioner does.
func (r *registry) seed(id uuid.UUID, key string) {
	r.t.Helper()
	r.exec(`insert into workspace_secrets (id, workspace_id, key, encrypted_value) values (gen_random_uuid(), $1, $2, $3)`, id, key, []byte(plantedValue))
}

func (r *registry) unseed(id uuid.UUID) {
	r.t.Helper()
	r.exec(`delete from workspace_secrets where workspace_id = $1`, id)
}

func (r *registry) setStatus(id uuid.UUID, status string) {
	r.t.Helper()
	r.exec(`update workspaces set status = $2, last_sample_error = null where id = $1`, id, status)
}

func (r *registry) status(id uuid.UUID) (status, lastError string) {
	r.t.Helper()
	err := r.pool.QueryRow(r.t.Context(), `select status::text, coalesce(last_sample_error, '') from workspaces where id = $1`, id).
		Scan(&status, &lastError)
	require.NoError(r.t, err)
	return status, lastError
}

func (r *registry) structureEvents(id uuid.UUID) int {
	return r.count(`select count(*) from structure_events where workspace_id = $1`, id)
}

func (r *registry) ledgerEvents(id uuid.UUID) int {
	return r.count(`select count(*) from gatehouse.events where workspace_id = $1`, id)
}

func (r *registry) decisions(id uuid.UUID) int {
	return r.count(`select count(*) from gatehouse.decisions where workspace_id = $1`, id)
}

func registerBody(id uuid.UUID) string {
	return fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", "agent_card": {"name": "concierge", "key": %q}}}`, id, plantedValue)
}

func heartbeatBody(id uuid.UUID, from string) string {
	return fmt.Sprintf(`{"workspace": {"id": %q, "from_status": %q, "to_status": "online"}}`, id, from)
}

// subscriber collects what the registry's channel carries.
type subscriber struct {
	messages chan string
}

func subscribe(t *testing.T, url string) *subscriber {
	t.Helper()
	connection, err := redis.DialURL(url)
	require.NoError(t, err)
	s := &subscriber{messages: make(chan string, 10_000)}
	pubsub := redis.PubSubConn{Conn: connection}
	require.NoError(t, pubsub.Subscribe("events:broadcast"))
	subscribed := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			switch v := pubsub.Receive().(type) {
			case redis.Message:
				s.messages <- string(v.Data)
			case redis.Subscription:
				close(subscribed)
			case error:
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = connection.Close()
		<-done
	})
	<-subscribed
	return s
}

// next waits for a message.
func (s *subscriber) next(t *testing.T) string {
	t.Helper()
	select {
	case message := <-s.messages:
		return message
	case <-time.After(patience):
		require.FailNow(t, "no message on the registry's channel")
		return ""
	}
}

func setLiveness(t *testing.T, url string, id uuid.UUID) {
	t.Helper()
	connection, err := redis.DialURL(url)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	for _, key := range livenessOf(id) {
		_, err = connection.Do("SET", key, "1")
		require.NoError(t, err)
	}
}

func livenessOf(id uuid.UUID) []any {
	key := "ws:" + id.String()
	return []any{key, key + ":url", key + ":internal_url"}
}

func livenessKeys(t *testing.T, url string, id uuid.UUID) int {
	t.Helper()
	connection, err := redis.DialURL(url)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	n, err := redis.Int(connection.Do("EXISTS", livenessOf(id)...))
	require.NoError(t, err)
	return n
}

// within runs f and requires that it took no longer than limit, with a margin for a busy machine.
func within(t *testing.T, limit time.Duration, f func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit+patience)
	defer cancel()
	begin := time.Now()
	f(ctx)
	require.Less(t, time.Since(begin), limit+time.Second)
}

// workspaceOf gives the workspace of a message on the registry's channel, "" for other messages.
func workspaceOf(message string) string {
	var event struct {
		WorkspaceID string `json:"workspace_id"`
	}
	if json.Unmarshal([]byte(message), &event) != nil {
		return ""
	}
	return event.WorkspaceID
}

func replaceOnce(t *testing.T, text, old, replacement string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(text, old), old)
	return strings.Replace(text, old, replacement, 1)
}
