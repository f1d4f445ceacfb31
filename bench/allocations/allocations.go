// Package allocations counts what each stage of a review allocates and compares that with a committed file. It compares
// no times: they depend on the machine, and allocations hardly do.
package allocations

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Command compares; with --write it writes the file anew.
type Command struct {
	Baseline string `help:"File with what each stage may allocate." default:"allocations/allocations.txt" type:"path"`
	Write    bool   `help:"Write the file instead of comparing with it."`
}

// Run fails when a stage allocates more than the file says.
func (c *Command) Run(ctx context.Context) error { return run(ctx, c.Baseline, c.Write, os.Stdout) }

func run(ctx context.Context, baseline string, write bool, out io.Writer) error {
	counted, err := count(ctx)
	if err != nil {
		return err
	}
	if write {
		return os.WriteFile(baseline, []byte(format(counted)), 0o644) //nolint:gosec // a committed file is for everybody to read
	}
	text, err := os.ReadFile(baseline)
	if err != nil {
		return err
	}
	allowed, err := parse(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", baseline, err)
	}
	return compare(allowed, counted, out)
}

// stageAllocations is what one stage allocates, in the mean of many runs.
type stageAllocations struct {
	stage string
	count float64
}

const runs = 200

func count(ctx context.Context) (counted []stageAllocations, err error) {
	folder, err := os.MkdirTemp("", "gatehouse-allocations-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	stages, closeStages, err := newStages(ctx, folder)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeStages()) }()
	for _, stage := range stages {
		n := 0
		var failed error
		mean := testing.AllocsPerRun(runs, func() {
			n++
			failed = errors.Join(failed, stage.Run(n))
		})
		if failed != nil {
			return nil, fmt.Errorf("%s: %w", stage.Name, failed)
		}
		counted = append(counted, stageAllocations{stage.Name, mean})
	}
	return counted, nil
}

const heading = "# Allocations of each stage of a review (bench/allocations/stages.go). \"make allocations\" writes this file.\n"

func format(counted []stageAllocations) string {
	var b strings.Builder
	b.WriteString(heading)
	for _, one := range counted {
		_, _ = fmt.Fprintf(&b, "%-16s %.0f\n", one.stage, one.count)
	}
	return b.String()
}

func parse(text string) (map[string]float64, error) {
	allowed := make(map[string]float64)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if len(fields) != 2 {
			return nil, fmt.Errorf("the line %q is no stage and its number", strings.TrimSpace(line))
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return nil, fmt.Errorf("the line %q: %w", strings.TrimSpace(line), err)
		}
		allowed[fields[0]] = value
	}
	return allowed, nil
}

// A stage may allocate so much more than the file says: what is pooled, and what the garbage collector takes out of
// pools, differs from run to run.
const (
	slackShare = 0.05
	slackCount = 2
)

func compare(allowed map[string]float64, counted []stageAllocations, out io.Writer) error {
	grown := false
	for _, one := range counted {
		may, known := allowed[one.stage]
		delete(allowed, one.stage)
		slack := max(may*slackShare, slackCount)
		verdict := ""
		switch {
		case !known:
			grown, verdict = true, "  NEW"
		case one.count > may+slack:
			grown, verdict = true, "  MORE"
		case one.count < may-slack:
			verdict = "  less: make allocations keeps it so"
		}
		_, _ = fmt.Fprintf(out, "%-16s %6.0f allocations, %6.0f in the file%s\n", one.stage, one.count, may, verdict)
	}
	for stage := range allowed {
		grown = true
		_, _ = fmt.Fprintf(out, "%-16s is in the file, and no stage\n", stage)
	}
	if grown {
		return errors.New("the stages do not allocate what bench/allocations/allocations.txt says: " +
			"find out why, or if it is worth it run \"make allocations\" and commit the file")
	}
	return nil
}
