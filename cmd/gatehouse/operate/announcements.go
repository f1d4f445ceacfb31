package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/molecule-ai/gatehouse/adapters/announce/operator"
	"github.com/molecule-ai/gatehouse/adapters/announce/queue"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
)

// Announcements is the operators' view of what goes out, on the database itself: it works while the
// server is down.
type Announcements struct {
	List    listCommand    `cmd:"" help:"List announcements, newest first, and how the sinks are doing."`
	Retry   retryCommand   `cmd:"" help:"Try announcements again now; dead ones get all the time for retries again."`
	Discard discardCommand `cmd:"" help:"Remove announcements, so that they do not go out."`
	Enable  enableCommand  `cmd:"" help:"Let a disabled sink deliver again. A sink is disabled by hand, or by a receiver that answers 410."`
	Disable disableCommand `cmd:"" help:"Stop delivering to a sink; what is announced meanwhile waits."`
}

type listCommand struct {
	flags.Database
	Sink   string `env:"-" help:"Only those of this sink." placeholder:"NAME"`
	State  string `env:"-" help:"Only those in this state: pending, retrying, dead, delivered." enum:",pending,retrying,dead,delivered" default:""`
	Limit  int    `env:"-" help:"How many at most, up to 1000." default:"50"`
	Cursor string `env:"-" help:"Continue a list: the cursor that its last page printed." placeholder:"CURSOR"`
	cli.Form
}

// Run prints a page of announcements.
func (c *listCommand) Run(ctx context.Context, to cli.Streams) error {
	return withAnnouncements(ctx, c.Database, func(view *operator.Announcements) error {
		page, next, err := view.List(ctx, operator.Filter{Sink: c.Sink, State: operator.State(c.State), Limit: c.Limit, After: c.Cursor})
		if err != nil {
			return err
		}
		sinks, err := view.Sinks(ctx)
		if err != nil {
			return err
		}
		return c.Write(to.Out, map[string]any{"announcements": page, "next": next, "sinks": sinks}, func(w io.Writer) error {
			return writeAnnouncements(w, page, next, sinks)
		})
	})
}

func writeAnnouncements(w io.Writer, page []operator.Announcement, next string, sinks []queue.SinkState) error {
	table := cli.NewTable(w, "SINK", "STATE", "PENDING", "OLDEST", "DEAD")
	for _, sink := range sinks {
		state := "enabled"
		if sink.Disabled {
			state = "disabled: " + sink.Reason
		}
		table.Row(sink.Name, state, sink.Pending, time.Duration(sink.OldestSeconds*float64(time.Second)).Round(time.Second), sink.Dead)
	}
	table.Row()
	table.Row("ID", "CREATED", "SINK", "STATE", "FAILURES", "WORKSPACE", "LAST ERROR")
	for _, a := range page {
		table.Row(a.ID, a.CreatedAt.Format(time.RFC3339), a.Sink, a.State, a.Failures, a.WorkspaceID, a.LastError)
	}
	return errors.Join(table.Flush(), cli.WriteMore(w, next))
}

type retryCommand struct {
	flags.Database
	IDs  []int64 `arg:"" optional:"" name:"id" help:"Ids of announcements, as list prints them."`
	Dead bool    `env:"-" help:"All that are dead."`
	Sink string  `env:"-" help:"With --dead: only those of this sink." placeholder:"NAME"`
}

// Run tries announcements again.
func (c *retryCommand) Run(ctx context.Context, to cli.Streams) error {
	if (len(c.IDs) > 0) == c.Dead {
		return errors.New("name announcements by their ids, or all dead ones with --dead")
	}
	return withAnnouncements(ctx, c.Database, func(view *operator.Announcements) error {
		done, err := 0, error(nil)
		if c.Dead {
			done, err = view.RetryAll(ctx, c.Sink)
		} else {
			done, err = eachID(ctx, c.IDs, view.Retry)
		}
		return conclude(to, done, "to be tried again", err)
	})
}

type discardCommand struct {
	flags.Database
	IDs   []int64 `arg:"" optional:"" name:"id" help:"Ids of announcements, as list prints them."`
	State string  `env:"-" help:"All in this state: dead, or pending and retrying for what waits for a sink that is gone." enum:",pending,retrying,dead" default:""`
	Sink  string  `env:"-" help:"With --state: only those of this sink; required but for dead ones." placeholder:"NAME"`
}

// Run removes announcements.
func (c *discardCommand) Run(ctx context.Context, to cli.Streams) error {
	state := operator.State(c.State)
	switch {
	case (len(c.IDs) > 0) == (state != ""):
		return errors.New("name announcements by their ids, or all in a state with --state")
	case state != "" && state != operator.StateDead && c.Sink == "":
		return errors.New("--state " + c.State + " without --sink would discard what is still to be delivered to every sink")
	}
	return withAnnouncements(ctx, c.Database, func(view *operator.Announcements) error {
		done, err := 0, error(nil)
		if state != "" {
			done, err = view.DiscardAll(ctx, c.Sink, state)
		} else {
			done, err = eachID(ctx, c.IDs, view.Discard)
		}
		return conclude(to, done, "discarded", err)
	})
}

// eachID calls one for every announcement and counts those that succeed.
func eachID(ctx context.Context, ids []int64, one func(context.Context, int64) error) (done int, err error) {
	for _, id := range ids {
		failed := one(ctx, id)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("announcement %d: %w", id, failed))
			continue
		}
		done++
	}
	return done, err
}

func conclude(to cli.Streams, done int, did string, err error) error {
	_, _ = fmt.Fprintf(to.Out, "%d %s\n", done, did)
	return err
}

type enableCommand struct {
	flags.Database
	Sink string `arg:"" help:"Name of the sink."`
}

// Run lets a sink deliver again.
func (c *enableCommand) Run(ctx context.Context, to cli.Streams) error {
	return withAnnouncements(ctx, c.Database, func(view *operator.Announcements) error {
		return concludeSink(to, c.Sink, "enabled", view.Enable(ctx, c.Sink))
	})
}

type disableCommand struct {
	flags.Database
	Sink string `arg:"" help:"Name of the sink."`
}

// Run stops a sink.
func (c *disableCommand) Run(ctx context.Context, to cli.Streams) error {
	return withAnnouncements(ctx, c.Database, func(view *operator.Announcements) error {
		return concludeSink(to, c.Sink, "disabled", view.Disable(ctx, c.Sink))
	})
}

func concludeSink(to cli.Streams, sink, now string, err error) error {
	if err == nil {
		_, err = fmt.Fprintf(to.Out, "sink %s is %s\n", sink, now)
	}
	return err
}

// withAnnouncements opens the queue of the database that the flags name.
func withAnnouncements(ctx context.Context, database flags.Database, do func(*operator.Announcements) error) error {
	return database.WithStore(ctx, func(store *flags.OpenStore) error {
		view, err := store.Announcements()
		if err != nil {
			return err
		}
		return do(view)
	})
}
