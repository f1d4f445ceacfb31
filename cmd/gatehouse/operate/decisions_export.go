package operate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/molecule-ai/gatehouse/adapters/decisionlog"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/cli"
	"github.com/molecule-ai/gatehouse/cmd/gatehouse/flags"
	"github.com/molecule-ai/gatehouse/server/admission"
	"github.com/molecule-ai/gatehouse/server/ledger"
)

type decisionsExportCommand struct {
	flags.Database
	decisionFilterFlags
	Since      moment            `env:"-" help:"From then on: a time (RFC 3339) or how long ago, like 24h. An export says where the next one begins." placeholder:"WHEN"`
	Until      moment            `env:"-" help:"Up to then; if it is left out, up to five minutes ago: what is later may not be recorded yet. 0s is now." placeholder:"WHEN"`
	Format     string            `env:"-" help:"opa: JSON lines of OPA's decision-log events; csv and parquet: one row for each decision." enum:"opa,csv,parquet" default:"opa"`
	OutputFile string            `env:"-" help:"File that is written, whole or not at all; - for standard output." placeholder:"FILE" default:"-"`
	Labels     map[string]string `env:"-" help:"With --format opa: labels of every event, besides app and version." placeholder:"NAME=VALUE"`
}

// ExportPage is how many decisions are in memory at a time.
const ExportPage = 500

// exporter writes decisions in some form. Close ends the form, and does not close what is below it.
type exporter interface {
	Write(d *admission.Decision) error
	Close() error
}

// Run exports, oldest first.
func (c *decisionsExportCommand) Run(ctx context.Context, to cli.Streams, version cli.Version) error {
	now := time.Now().UTC().Truncate(time.Microsecond) // as stores keep it
	filter, err := c.filter()
	if err == nil {
		err = timeFlags{c.Since, c.Until}.apply(&filter, now)
	}
	if err != nil {
		return err
	}
	settled := now.Add(-decisionlog.SettledAfter)
	if filter.Until.IsZero() {
		filter.Until = settled
	}
	if filter.Until.After(settled) {
		_, _ = fmt.Fprintln(to.Err, "warning: --until is so recent that decisions of before it may still be recorded:",
			"the next export has to begin before it, and then has some of these again")
	}
	exported, err := c.write(ctx, to, version, filter)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(to.Err, "%d decisions exported, up to %s; the next export begins with --since %s\n", exported,
		filter.Until.UTC().Format(time.RFC3339Nano), nextExport(filter, settled).Format(time.RFC3339Nano))
	return nil
}

// nextExport is the time at which the next export begins: an export lacks decisions that are recorded after it.
func nextExport(f ledger.Filter, settled time.Time) time.Time {
	next := f.Until
	if settled.Before(next) {
		next = settled
	}
	if next.Before(f.Since) {
		next = f.Since
	}
	return next.UTC()
}

func (c *decisionsExportCommand) write(ctx context.Context, to cli.Streams, version cli.Version, filter ledger.Filter) (exported int, err error) {
	err = c.WithStore(ctx, func(store *flags.OpenStore) error {
		export := func(w io.Writer) error {
			exported, err = c.export(ctx, to, version, store, filter, w)
			return err
		}
		if c.OutputFile == "-" {
			return export(to.Out)
		}
		return writeWhole(c.OutputFile, export)
	})
	return exported, err
}

func (c *decisionsExportCommand) export(
	ctx context.Context, to cli.Streams, version cli.Version, store flags.DecisionStore, filter ledger.Filter, w io.Writer,
) (exported int, err error) {
	bar := cli.NewProgress(to.Err, -1, "decisions")
	buffered := bufio.NewWriterSize(w, 1<<20)
	out := c.exporter(version, buffered)
	err = eachDecision(ctx, store, filter, func(d *admission.Decision) error {
		_ = bar.Add(1)
		exported++
		return out.Write(d)
	})
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	_ = bar.Finish()
	return exported, err
}

func (c *decisionsExportCommand) exporter(version cli.Version, w io.Writer) exporter {
	switch c.Format {
	case "csv":
		return decisionlog.NewCSVWriter(w)
	case "parquet":
		return decisionlog.NewParquetWriter(w)
	default:
		return decisionlog.NewEventWriter(w, decisionlog.Labels(string(version), c.Labels))
	}
}

// eachDecision goes through decisions, oldest first, page by page.
func eachDecision(
	ctx context.Context, store flags.DecisionStore, filter ledger.Filter, do func(d *admission.Decision) error,
) error {
	after := uuid.Nil
	for {
		page, err := store.Decisions(ctx, ledger.Query{
			Filter: filter, OldestFirst: true, After: after, Limit: ExportPage,
		})
		if err != nil {
			return err
		}
		for i := range page {
			err = do(&page[i].Decision)
			if err != nil {
				return fmt.Errorf("decision %s: %w", page[i].Decision.ID, err)
			}
		}
		if len(page) < ExportPage {
			return nil
		}
		after = page[len(page)-1].Decision.ID
	}
}

// writeWhole writes a temporary file and renames it once it is complete. Only its owner may read it.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return fmt.Errorf("--output-file: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	err = write(file)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
