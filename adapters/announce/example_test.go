package announce_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/announce"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/adapters/announce/sinks"
	"github.com/molecule-ai/gatehouse/server/admission"
)

// console is a sink that prints, after a first attempt that fails.
type console struct {
	failed  bool
	printed chan struct{}
}

func (c *console) Name() string { return "console" }

func (c *console) Deliver(_ context.Context, job sinks.Job) error {
	if !c.failed {
		c.failed = true
		return errors.New("not yet")
	}
	fmt.Println(job.Message)
	close(c.printed)
	return nil
}

// An event that is announced in a transaction reaches its sinks once the
// transaction is committed.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "announce")
	check(err)
	defer func() { check(os.RemoveAll(folder)) }()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(folder, "gatehouse.db"))
	check(err)
	defer func() { check(db.Close()) }()
	db.SetMaxOpenConns(1)

	sink := &console{printed: make(chan struct{})}
	outbox, err := announce.NewSQLiteOutbox(announce.SinkConfigs{{Name: sink.Name()}})
	check(err)
	database := queue.SQLite(db)
	check(database.Migrate(ctx))
	relay, err := announce.NewRelay(database, []sinks.Sink{sink}, announce.Options{
		Retry: announce.Retry{First: 10 * time.Millisecond},
	})
	check(err)
	relay.Start(ctx)

	tx, err := db.BeginTx(ctx, nil)
	check(err)
	check(outbox.Announce(ctx, tx, admission.Event{
		ID:          uuid.New(),
		Event:       admission.ProvisionFailed,
		WorkspaceID: uuid.MustParse("7b0f6f0e-3c0e-4c43-9d7c-0a4c5a0f7d11"),
		Timestamp:   time.Date(2026, 4, 5, 6, 7, 8, 0, time.UTC),
		Payload:     admission.EventPayload{Error: "no model", Code: "PLATFORM_AGENT_IDENTITY_GATE", Reason: "model_missing"},
	}))
	check(tx.Commit())

	<-sink.printed
	check(relay.Stop(ctx))
	// Output:
	// {"event":"WORKSPACE_PROVISION_FAILED","workspace_id":"7b0f6f0e-3c0e-4c43-9d7c-0a4c5a0f7d11","timestamp":"2026-04-05T06:07:08Z","payload":{"error":"no model","code":"PLATFORM_AGENT_IDENTITY_GATE","reason":"model_missing"}}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
