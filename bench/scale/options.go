//go:build linux

// Package scale measures one, two and four replicas of Gatehouse on one durable Postgres, behind nginx, and works out
// what that means for loads that this machine cannot make. Every process is on this machine and on loopback; the setups
// are under load in turn, round by round. `make scale` runs it and writes the tables into docs/scale.md.
package scale

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/molecule-ai/gatehouse/bench/rig"
)

// Run measures, prints the tables and, with -write, puts them into a page.
func Run(ctx context.Context, arguments []string) error {
	o, err := readOptions(arguments)
	if err != nil {
		return err
	}
	measured, err := o.measure(ctx)
	if err != nil {
		return err
	}
	text := measured.markdown()
	fmt.Println(text)
	if o.write == "" {
		return nil
	}
	return rig.ReplaceTable(o.write, "make scale", text)
}

// options are what `make scale` leaves at their defaults.
type options struct {
	repository, gatehouse, policy string
	nginx, self                   string
	rounds                        int
	seconds                       float64
	write                         string
}

func readOptions(arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.StringVar(&o.repository, "repository", ".", "folder of Gatehouse's sources")
	flags.StringVar(&o.gatehouse, "gatehouse", "bin/gatehouse", "the program")
	flags.StringVar(&o.policy, "policy", "bench/policy", "folder of the policy")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds; medians are over them")
	flags.Float64Var(&o.seconds, "seconds", 2.5, "length of one run")
	flags.StringVar(&o.write, "write", "", "page whose tables are to be replaced")
	err := flags.Parse(arguments)
	if err != nil {
		return o, err
	}
	if o.rounds < 1 || o.seconds <= 0 || flags.NArg() > 0 {
		return o, errors.New("usage: scale [flags]; rounds and seconds are more than 0")
	}
	o.nginx, err = findNginx()
	if err != nil {
		return o, err
	}
	o.self, err = os.Executable()
	if err != nil {
		return o, err
	}
	for _, path := range []*string{&o.repository, &o.gatehouse, &o.policy, &o.nginx} {
		*path, err = filepath.Abs(*path)
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

// findNginx looks where Debian puts it, too, which is on root's PATH only.
func findNginx() (string, error) {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		path, err := exec.LookPath(name)
		if err == nil {
			return path, nil
		}
	}
	return "", errors.New("replicas are measured behind nginx, and there is none on PATH: install it (Debian and Ubuntu: apt-get install nginx-light)")
}

func progress(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}
