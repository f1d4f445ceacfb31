package main

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
	"github.com/schollz/progressbar/v3"

	"gatehouse/adapters/decisionlog"
	"gatehouse/server/admission"
)

type decisionsExportCommand struct {
	databaseFlags
	decisionFilterFlags
	timeFlags
	Format     string            `help:"opa: JSON lines of OPA's decision-log events; csv and parquet: one row for each decision." enum:"opa,csv,parquet" default:"opa"`
	OutputFile string            `help:"File that is written, whole or not at all; - for standard output." placeholder:"FILE" default:"-"`
	Labels     map[string]string `help:"With --format opa: labels of every event, besides app and version." placeholder:"NAME=VALUE"`
}

// exportPage is how many decisions are in memory at a time.
const exportPage = 500

// exporter writes decisions in some form. Close ends the form, and does not close what is below it.
type exporter interface {
	Write(d *admission.Decision) error
	Close() error
}

// Run exports, oldest first.
func (c *decisionsExportCommand) Run(ctx context.Context, to streams) error {
	now := time.Now()
	filter, err := c.filter()
	if err == nil {
		err = c.apply(&filter, now)
	}
	if err != nil {
		return err
	}
	if filter.Until.IsZero() {
		filter.Until = now // else it would not end beside a busy server
	}
	return c.withDecisions(ctx, func(store decisionStore) error {
		if c.OutputFile == "-" {
			return c.export(ctx, to, store, filter, to.out)
		}
		return writeWhole(c.OutputFile, func(w io.Writer) error { return c.export(ctx, to, store, filter, w) })
	})
}

func (c *decisionsExportCommand) export(
	ctx context.Context, to streams, store decisionStore, filter admission.DecisionFilter, w io.Writer,
) error {
	bar := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(to.err), progressbar.OptionSetVisibility(isTerminal(to.err)),
		progressbar.OptionSetDescription("decisions"), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
	)
	buffered := bufio.NewWriterSize(w, 1<<20)
	out := c.exporter(buffered)
	err := eachDecision(ctx, store, filter, func(d *admission.Decision) error {
		_ = bar.Add(1)
		return out.Write(d)
	})
	if err == nil {
		err = out.Close()
	}
	if err == nil {
		err = buffered.Flush()
	}
	_ = bar.Finish()
	return err
}

func (c *decisionsExportCommand) exporter(w io.Writer) exporter {
	switch c.Format {
	case "csv":
		return decisionlog.NewCSVWriter(w)
	case "parquet":
		return decisionlog.NewParquetWriter(w)
	default:
		return decisionlog.NewEventWriter(w, decisionLabels(c.Labels))
	}
}

// eachDecision goes through decisions, oldest first, page by page.
func eachDecision(
	ctx context.Context, store decisionStore, filter admission.DecisionFilter, do func(d *admission.Decision) error,
) error {
	after := uuid.Nil
	for {
		page, err := store.Decisions(ctx, admission.DecisionQuery{
			DecisionFilter: filter, OldestFirst: true, After: after, Limit: exportPage,
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
		if len(page) < exportPage {
			return nil
		}
		after = page[len(page)-1].Decision.ID
	}
}

// writeWhole writes a file aside and puts it in its place once it is complete. It is for nobody else to read.
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
