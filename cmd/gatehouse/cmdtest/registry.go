package cmdtest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// Registry is the registry's own side: its tables and its Redis.
type Registry struct {
	t    *testing.T
	Pool *pgxpool.Pool
}

func NewRegistry(t *testing.T, url string) *Registry {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return &Registry{t: t, Pool: pool}
}

func (r *Registry) Exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.Pool.Exec(r.t.Context(), sql, args...)
	require.NoError(r.t, err)
}

func (r *Registry) Count(sql string, args ...any) int {
	r.t.Helper()
	var n int
	require.NoError(r.t, r.Pool.QueryRow(r.t.Context(), sql, args...).Scan(&n))
	return n
}

// Workspace stores a row and gives its id.
func (r *Registry) Workspace(kind, status string) uuid.UUID {
	r.t.Helper()
	id := uuid.New()
	r.Exec(`insert into workspaces (id, name, kind, status, url) values ($1, 'concierge', $2, $3, 'https://agent.example.com')`, id, kind, status)
	return id
}

// PlantedValue is the value of every secret in these tests. It must never be seen outside its column.
const PlantedValue = "sk-planted-secret-value"

// Seed stores a secret of a workspace as the provisioner does.
func (r *Registry) Seed(id uuid.UUID, key string) {
	r.t.Helper()
	r.Exec(`insert into workspace_secrets (id, workspace_id, key, encrypted_value) values (gen_random_uuid(), $1, $2, $3)`, id, key, []byte(PlantedValue))
}

func (r *Registry) Unseed(id uuid.UUID) {
	r.t.Helper()
	r.Exec(`delete from workspace_secrets where workspace_id = $1`, id)
}

func (r *Registry) SetStatus(id uuid.UUID, status string) {
	r.t.Helper()
	r.Exec(`update workspaces set status = $2, last_sample_error = null where id = $1`, id, status)
}

func (r *Registry) Status(id uuid.UUID) (status, lastError string) {
	r.t.Helper()
	err := r.Pool.QueryRow(r.t.Context(), `select status::text, coalesce(last_sample_error, '') from workspaces where id = $1`, id).
		Scan(&status, &lastError)
	require.NoError(r.t, err)
	return status, lastError
}

func (r *Registry) StructureEvents(id uuid.UUID) int {
	return r.Count(`select count(*) from structure_events where workspace_id = $1`, id)
}

func (r *Registry) LedgerEvents(id uuid.UUID) int {
	return r.Count(`select count(*) from gatehouse.events where workspace_id = $1`, id)
}

func (r *Registry) Decisions(id uuid.UUID) int {
	return r.Count(`select count(*) from gatehouse.decisions where workspace_id = $1`, id)
}

func RegisterBody(id uuid.UUID) string {
	return fmt.Sprintf(`{"workspace": {"id": %q, "url": "https://agent.example.com", "agent_card": {"name": "concierge", "key": %q}}}`, id, PlantedValue)
}

func HeartbeatBody(id uuid.UUID, from string) string {
	return fmt.Sprintf(`{"workspace": {"id": %q, "from_status": %q, "to_status": "online"}}`, id, from)
}

// Subscriber collects what the registry's channel carries.
type Subscriber struct {
	Messages chan string
}

func Subscribe(t *testing.T, url string) *Subscriber {
	t.Helper()
	connection, err := redis.DialURL(url)
	require.NoError(t, err)
	s := &Subscriber{Messages: make(chan string, 10_000)}
	pubsub := redis.PubSubConn{Conn: connection}
	require.NoError(t, pubsub.Subscribe("events:broadcast"))
	subscribed := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			switch v := pubsub.Receive().(type) {
			case redis.Message:
				s.Messages <- string(v.Data)
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

// Next waits for a message of a workspace. Other tests may share the channel.
func (s *Subscriber) Next(t *testing.T, id uuid.UUID) string {
	t.Helper()
	limit := time.After(Patience)
	for {
		select {
		case message := <-s.Messages:
			if WorkspaceOf(message) == id.String() {
				return message
			}
		case <-limit:
			require.FailNow(t, "no message of the workspace on the registry's channel")
		}
	}
}

// NoMore requires that no message of a workspace is left.
func (s *Subscriber) NoMore(t *testing.T, id uuid.UUID) {
	t.Helper()
	for {
		select {
		case message := <-s.Messages:
			require.NotEqual(t, id.String(), WorkspaceOf(message), "one mark, one message: %s", message)
		default:
			return
		}
	}
}

func SetLiveness(t *testing.T, url string, id uuid.UUID) {
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

func LivenessKeys(t *testing.T, url string, id uuid.UUID) int {
	t.Helper()
	connection, err := redis.DialURL(url)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	n, err := redis.Int(connection.Do("EXISTS", livenessOf(id)...))
	require.NoError(t, err)
	return n
}

// Within runs f and requires that it took no longer than limit, with a margin for a busy machine.
func Within(t *testing.T, limit time.Duration, f func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit+Patience)
	defer cancel()
	begin := time.Now()
	f(ctx)
	require.Less(t, time.Since(begin), limit+time.Second)
}

// WorkspaceOf gives the workspace of a message on the registry's channel, "" for other messages.
func WorkspaceOf(message string) string {
	var event struct {
		WorkspaceID string `json:"workspace_id"`
	}
	if json.Unmarshal([]byte(message), &event) != nil {
		return ""
	}
	return event.WorkspaceID
}

func ReplaceOnce(t *testing.T, text, old, replacement string) string {
	t.Helper()
	require.Equal(t, 1, strings.Count(text, old), old)
	return strings.Replace(text, old, replacement, 1)
}

// Rows are all rows of the tables of schema gatehouse but the decisions, and what the registry's tables show of an
// event, as text.
func (r *Registry) Rows() string {
	r.t.Helper()
	names, err := r.Pool.Query(r.t.Context(), `
select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables
where schemaname = 'gatehouse' and tablename not like 'decisions%'`)
	require.NoError(r.t, err)
	tables, err := pgx.CollectRows(names, pgx.RowTo[string])
	require.NoError(r.t, err)
	require.Greater(r.t, len(tables), 5)
	text := r.Text(`select to_jsonb(s)::text from structure_events s union all select last_sample_error from workspaces`)
	for _, table := range tables {
		if table != "gatehouse.request_uids" { // which keep what a caller calls its request
			text += r.Text(`select to_jsonb(t)::text from ` + table + ` t`)
		}
	}
	return text
}

func (r *Registry) Text(sql string) string {
	r.t.Helper()
	rows, err := r.Pool.Query(r.t.Context(), sql)
	require.NoError(r.t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	require.NoError(r.t, err)
	var text strings.Builder
	for _, line := range lines {
		if line != nil {
			text.WriteString(*line + "\n")
		}
	}
	return text.String()
}
