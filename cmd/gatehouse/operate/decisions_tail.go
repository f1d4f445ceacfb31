package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/httpapi/resources"
	"github.com/molecule-ai/gatehouse/server/ledger"
	"github.com/molecule-ai/gatehouse/server/stream"
)

type decisionsTailCommand struct {
	flags.Database
	decisionFilterFlags
	Lines  int    `env:"-" short:"n" help:"How many recorded decisions to show first, up to 1000." default:"10"`
	Input  bool   `env:"-" help:"With --output json: include the input that was evaluated."`
	Output string `help:"Form of the answer: json has one line for each." enum:"text,json" default:"text"`
}

// Run prints decisions until ctx ends, which is how it is told to stop.
func (c *decisionsTailCommand) Run(ctx context.Context, to cli.Streams) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if c.Lines < 0 || c.Lines > resources.MaxPage {
		return fmt.Errorf("--lines is a number from 0 to %d", resources.MaxPage)
	}
	return c.WithStore(ctx, func(store *flags.OpenStore) error {
		hub := stream.New(stream.Decisions(store), stream.DecisionOptions())
		hub.Start()
		defer hub.Close()
		tail := tail{command: c, out: to.Out, hub: hub, filter: filter, shown: make(map[uuid.UUID]bool)}
		err := tail.run(ctx, store)
		if ctx.Err() != nil {
			return nil
		}
		return err
	})
}

// tail prints the last recorded decisions, and then those that are recorded.
type tail struct {
	command  *decisionsTailCommand
	out      io.Writer
	hub      *stream.Hub[admission.Decision]
	filter   ledger.Filter
	position int64
	shown    map[uuid.UUID]bool // the first ones, which the stream can bring again
}

func (t *tail) run(ctx context.Context, store resources.DecisionReader) error {
	next, err := t.hub.Subscribe(ctx, stream.FromNow) // before the list is read: nothing is between them
	if err != nil {
		return err
	}
	err = t.begin(ctx, store)
	for err == nil {
		var items []stream.Streamed[admission.Decision]
		items, err = next(ctx)
		if errors.Is(err, stream.ErrTooSlow) {
			next, err = t.hub.Subscribe(ctx, t.position)
			continue
		}
		for i := 0; i < len(items) && err == nil; i++ {
			t.position = items[i].Position
			if d := items[i].Item; d != nil && t.filter.Passes(d) && !t.shown[d.ID] {
				err = t.show(resources.NewDecisionRecord(d, t.command.Input))
			}
		}
	}
	return err
}

func (t *tail) begin(ctx context.Context, store resources.DecisionReader) error {
	if t.command.Output == "text" {
		_, err := fmt.Fprintf(t.out, decisionLine, "TIME", "HOOK", "VERDICT", "CODE", "KIND", "WORKSPACE", "ID")
		if err != nil {
			return err
		}
	}
	if t.command.Lines == 0 {
		return nil
	}
	page, err := resources.ReadDecisionPage(ctx, store, ledger.Query{Filter: t.filter, Limit: t.command.Lines}, t.command.Input)
	for _, d := range slices.Backward(page.Decisions) {
		if err == nil {
			t.shown[d.ID] = true
			err = t.show(d)
		}
	}
	return err
}

func (t *tail) show(d resources.DecisionRecord) error {
	if t.command.Output == "text" {
		return writeDecision(t.out, d)
	}
	line, err := json.Marshal(d)
	if err == nil {
		_, err = fmt.Fprintf(t.out, "%s\n", line)
	}
	return err
}
