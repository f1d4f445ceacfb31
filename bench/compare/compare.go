// Package compare measures Gatehouse beside `opa run --server` and beside two servers that a registry's team might write
// instead (peers), on one machine and in one run, with the same policy and the same workspaces. Servers, Postgres and
// the load generator are processes of their own.
package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// Command is what `make bench` leaves at its defaults.
type Command struct {
	rig.Options
	OPA        string `help:"OPA's program, of the version that Gatehouse embeds." default:"bin/opa" type:"path"`
	Rows       string `help:"Rows to measure." default:"ABCDEFG"`
	Workspaces int    `help:"Workspaces that the database grows to in row F." default:"1000000"`
	Profiles   string `help:"Folder for a CPU profile of each Gatehouse under its load, taken after the rounds." placeholder:"DIR" type:"path"`
}

func (c *Command) has(row string) bool { return strings.Contains(c.Rows, row[:1]) }

// measurement is all that one run has measured.
type measurement struct {
	subjects   []*rig.Subject
	memory     float64 // MiB, of a Gatehouse on Postgres
	policies   []goBenchmark
	rules      []goBenchmark
	workspaces []*rig.Subject // asked before and after the database grows
	starts     []float64      // ms
}

// Run measures, prints the tables and, with --write, puts them into a page.
func (c *Command) Run(ctx context.Context) (err error) {
	began := time.Now()
	r, err := rig.New(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	version, err := c.opaVersion(ctx)
	if err != nil {
		return err
	}
	var m measurement
	err = c.runGoBenchmarks(ctx, &m) // while no server is there
	if err != nil {
		return err
	}
	s, err := c.start(ctx, r)
	if err != nil {
		return err
	}
	err = c.measure(ctx, s, &m)
	if err != nil {
		return err
	}
	var postgres string
	err = s.database.QueryRow(ctx, "show server_version").Scan(&postgres)
	if err != nil {
		return err
	}
	var page rig.Page
	err = page.Heading(ctx, r, c.Options, "make bench", began, "OPA "+version, "PostgreSQL "+postgres+" that syncs")
	if err != nil {
		return err
	}
	m.write(&page)
	return page.Publish(c.Write, "make bench")
}

// opaVersion refuses to compare with another OPA than the one that Gatehouse embeds.
func (c *Command) opaVersion(ctx context.Context) (string, error) {
	said, err := rig.Command(ctx, c.Repository, c.OPA, "version")
	if err != nil {
		return "", fmt.Errorf("asking opa for its version: %w: %s", err, said)
	}
	line, _, _ := strings.Cut(said, "\n")
	version := strings.TrimSpace(strings.TrimPrefix(line, "Version:"))
	embedded, err := rig.Command(ctx, c.Repository, "go", "list", "-m", "-f", "{{.Version}}", "github.com/open-policy-agent/opa")
	if err != nil {
		return "", fmt.Errorf("asking go.mod for OPA's version: %w: %s", err, embedded)
	}
	if embedded != "v"+version {
		return "", fmt.Errorf("%s is OPA %s, and Gatehouse embeds %s: change tools/opa/go.mod", c.OPA, version, embedded)
	}
	return version, nil
}

func (c *Command) measure(ctx context.Context, s *servers, m *measurement) (err error) {
	m.subjects, err = c.subjects(s)
	if err != nil {
		return err
	}
	err = s.Rounds(ctx, c.Options, m.subjects)
	if err != nil {
		return err
	}
	if c.Profiles != "" {
		err = c.profile(ctx, s, m.subjects)
		if err != nil {
			return err
		}
	}
	if c.has("G") {
		m.starts, err = c.startTimes(ctx, s)
		if reviews := m.find("B", usual); err == nil && reviews != nil {
			m.memory, err = c.memory(ctx, s, reviews)
		}
		if err != nil {
			return err
		}
	}
	if c.has("F") {
		m.workspaces, err = c.growDatabase(ctx, s)
	}
	return err
}

// profile runs each Gatehouse once more.
func (c *Command) profile(ctx context.Context, s *servers, subjects []*rig.Subject) error {
	err := os.MkdirAll(c.Profiles, 0o755)
	if err != nil {
		return err
	}
	for _, one := range subjects {
		if one.Row == "" || one.Connections != usual {
			continue
		}
		file := filepath.Join(c.Profiles, strings.ReplaceAll(one.Row, " ", "-")+".pprof")
		group, inTime := errgroup.WithContext(ctx)
		group.Go(func() error { _, err := s.Run(inTime, one, c.Seconds+1); return err })
		group.Go(func() error { return one.Servers[0].Profile(inTime, file, c.Seconds) })
		err = group.Wait()
		if err != nil {
			return fmt.Errorf("profile of %s: %w", one.Row, err)
		}
		rig.Progress("go tool pprof %s", file)
	}
	return nil
}
