//go:build linux

// Command compare measures Gatehouse beside `opa run --server` and a bare net/http handler, on one machine and in
// one run, with the same policy and the same workspaces. Servers, Postgres and the load generator are processes of
// their own; the servers are under load in turn, round by round, so that what else the machine does hits all of them.
// `make bench` runs it and writes the table into docs/performance.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "load":
		return serveLoad(ctx)
	case len(arguments) == 2 && arguments[0] == "bare":
		return serveBare(ctx, arguments[1])
	}
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
	return replaceBetween(options.write, text)
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

// command gives what a program prints.
func command(ctx context.Context, folder string, arguments ...string) (string, error) {
	c := exec.CommandContext(ctx, arguments[0], arguments[1:]...)
	c.Dir = folder
	text, err := c.CombinedOutput()
	return strings.TrimSpace(string(text)), err
}

// The marks between which a page has the table.
const (
	beginMark = "<!-- make bench -->\n"
	endMark   = "<!-- end of make bench -->"
)

func replaceBetween(page, table string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !found || !ended {
		return fmt.Errorf("%s has no marks %q and %q", page, beginMark, endMark)
	}
	return os.WriteFile(page, []byte(before+beginMark+table+endMark+after), 0o644) //nolint:gosec // a page is for everybody to read
}
