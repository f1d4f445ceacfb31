//go:build linux

// Package compare measures Gatehouse beside `opa run --server` and a bare net/http handler, on one machine and in
// one run, with the same policy and the same workspaces. Servers, Postgres and the load generator are processes of
// their own; the servers are under load in turn, round by round, so that what else the machine does hits all of them.
// `make bench` runs it and writes the table into docs/performance.md.
package compare

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// Run measures, prints the tables and, with -write, puts them into a page.
func Run(ctx context.Context, arguments []string) error {
	options, err := readOptions(arguments)
	if err != nil {
		return err
	}
	report, err := options.compare(ctx)
	if err != nil {
		return err
	}
	text := report.markdown()
	fmt.Println(text)
	if options.write == "" {
		return nil
	}
	return rig.ReplaceTable(options.write, "make bench", text)
}

// options are what `make bench` leaves at their defaults.
type options struct {
	programs
	repository string
	rounds     int
	seconds    float64
	rows       string
	workspaces int
	write      string
	profiles   string
}

func readOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	flags.StringVar(&o.repository, "repository", ".", "folder of Gatehouse's sources")
	flags.StringVar(&o.gatehouse, "gatehouse", "bin/gatehouse", "the program")
	flags.StringVar(&o.opa, "opa", "bin/opa", "OPA's program, built from the same version of its module")
	flags.StringVar(&o.policy, "policy", "bench/policy", "folder of the policy")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; medians are over them")
	flags.Float64Var(&o.seconds, "seconds", 2.5, "length of one run")
	flags.StringVar(&o.rows, "rows", "ABCDEFG", "rows to measure")
	flags.IntVar(&o.workspaces, "workspaces", 1_000_000, "workspaces that the database grows to in row F")
	flags.StringVar(&o.write, "write", "", "page whose table is to be replaced")
	flags.StringVar(&o.profiles, "profiles", "", "folder for a CPU profile of each server of Gatehouse under its load, taken after the rounds")
	err := flags.Parse(arguments)
	if err != nil {
		return o, err
	}
	if o.rounds < 1 || o.seconds <= 0 || flags.NArg() > 0 {
		return o, errors.New("usage: compare [flags]; rounds and seconds are more than 0")
	}
	o.self, err = os.Executable()
	if err != nil {
		return o, err
	}
	for _, path := range []*string{&o.repository, &o.gatehouse, &o.opa, &o.policy} {
		*path, err = filepath.Abs(*path)
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o options) has(row string) bool { return strings.Contains(o.rows, row) }
